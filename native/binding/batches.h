// Reading of batches, adapters and training requests as lib/binding/batches.ts describes them.
#pragma once

#include <vector>

#include "binding/handle.h"
#include "binding/states.h"

namespace rubricate::binding {

struct Adapters {
  std::vector<std::shared_ptr<RedAdapter>> core;  // null: an empty slot
  std::vector<std::shared_ptr<void>> uses;        // hold them while the job is under way
};
Adapters adapters_argument(const Napi::Value& value, const std::shared_ptr<ModelState>& model);

// Copied out of their typed arrays once; model/batch.h and train/micro_batch.h have the rules.
Batch batch_argument(const Napi::Value& value, const char* name, const BatchBounds& bounds);
std::vector<MicroBatch> micro_batches_argument(const Napi::Value& value, const char* name, const BatchBounds& bounds);

struct TrainRequest {
  std::vector<Tenant> tenants;
  std::vector<MicroBatch> micro_batches;
  bool recompute = false, update = true;
  std::vector<std::shared_ptr<void>> uses;
};
TrainRequest train_request_argument(const Napi::Value& value, const std::shared_ptr<ModelState>& model);

// AdamW's options, of a NativeOptimizerOptions.
AdamWOptions adamw_argument(const Napi::Object& options);
SamplingOptions sampling_argument(const Napi::Value& value, const char* name);

}  // namespace rubricate::binding
