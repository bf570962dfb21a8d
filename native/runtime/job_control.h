// What a job gives to the work that it runs.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "device/arena.h"

namespace rubricate {

struct JobControl {
  using Observer = std::function<void(const char* op, bool backward)>;

  const std::atomic<bool>* cancelled = nullptr;
  std::function<void()> yield;
  std::shared_ptr<Arena> arena;  // where the model computes
  Observer observer = {};        // called when an op begins, and with "update": norm, clipping, AdamW
  // Throws ERR_FILE where the weights that the job reads changed under it: called before an update makes use of them.
  std::function<void()> check_weights = {};
};

}  // namespace rubricate
