// The options that a job passes to its work.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "device/arena.h"

namespace rubricate {

struct JobControl {
  using Observer = std::function<void(const char* op, bool backward)>;

  const std::atomic<bool>* cancelled = nullptr;
  std::function<void()> yield;   // lets shorter jobs run on this thread, with memory of their own
  std::shared_ptr<Arena> arena;  // memory on the model's device
  Observer observer = {};        // called when an op begins, and with "update" before gradient norm, clipping and AdamW
  // Throws ERR_FILE if the weight files changed while the job read them. Call it before an update.
  std::function<void()> check_weights = {};
  // Whether shorter jobs are under way: one waits, or ran a moment ago. Work is then cut smaller, with the same bits. May
  // be empty: none are.
  std::function<bool()> wanted = {};
};

}  // namespace rubricate
