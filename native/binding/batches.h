// Reads batches, adapters and training requests, as declared in lib/binding/batches.ts.
#pragma once

#include <vector>

#include "binding/handle.h"
#include "binding/states.h"
#include "ops/sampling/sampling.h"

namespace rubricate::binding {

struct Adapters {
  std::vector<std::shared_ptr<Adapter>> core;  // null: an empty slot
  std::vector<std::shared_ptr<void>> uses;     // keep these while the job runs
};
Adapters adapters_argument(const Napi::Value& value, const std::shared_ptr<ModelState>& model);

// Copies the typed arrays once. The rules are in model/batch.h and train/micro_batch.h.
Batch batch_argument(const Napi::Value& value, const char* name, const BatchBounds& bounds);
std::vector<MicroBatch> micro_batches_argument(const Napi::Value& value, const BatchBounds& bounds);

struct TrainRequest {
  std::vector<Tenant> tenants;
  std::vector<MicroBatch> micro_batches;
  StepOptions options;
  std::vector<std::shared_ptr<void>> uses;
};
// Most rows of a micro-batch; missing: 0.
int64_t max_rows_argument(const Napi::Value& value);
TrainRequest train_request_argument(const Napi::Value& value, const std::shared_ptr<ModelState>& model);

// AdamW's options, from a NativeOptimizerOptions object.
AdamWOptions adamw_argument(const Napi::Object& options);
SamplingOptions sampling_argument(const Napi::Value& value, const char* name);

}  // namespace rubricate::binding
