// One optimizer step: forward and backward of every micro-batch, clipping, AdamW.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "adapter/adapter.h"
#include "base/error.h"
#include "model/model.h"
#include "ops/adamw/adamw.h"
#include "optimizer/optimizer_state.h"
#include "optimizer/parameter.h"
#include "runtime/job_control.h"
#include "train/micro_batch.h"

namespace rubricate {

// A set of parameters that is trained: an adapter's, or the model's own. In one batch sequences of slot i belong to
// tenant i - 1 (to tenant 0, in slot 0, when the model's own weights are trained).
struct Tenant {
  std::shared_ptr<Adapter> adapter;  // null: the model's own weights
  std::shared_ptr<ParameterSet> parameters;
  std::shared_ptr<OptimizerState> optimizer;
  AdamWOptions options;
  double max_grad_norm = 1.0;  // 0: no clipping
  bool decay_to_zero = false;  // true: weight decay pulls scales to 0 too, as in the reference implementation
  // Set from any thread: leaves this tenant out of an update that has not begun. May be null.
  std::shared_ptr<const std::atomic<bool>> cancelled = {};
  // What is wrong with its sequences, if they were refused: it takes no part in the step, and this is its outcome.
  std::optional<Error> refused = {};
};

struct TenantResult {
  double loss = 0.0;  // mean nats over the tenant's supervised tokens of all micro-batches
  int64_t supervised = 0;
  int64_t correct = 0;     // supervised tokens whose largest logit was the target
  double grad_norm = 0.0;  // before clipping
};

// With an error the tenant was not updated, and its result means nothing.
//   Tenant::refused. ERR_DATA: no supervised token in the step. ERR_NOT_FINITE: its loss, gradient or updated values. ERR_ABORTED: its flag.
struct TenantOutcome {
  TenantResult result;
  std::optional<Error> error;
};

struct StepOptions {
  bool recompute = false;  // activation checkpointing
  bool update = true;      // false: gradients are computed and kept for reading, and nothing else changes
  // The core splits the sequences into micro-batches of at most so many rows; 0: they are split as they are given. Ignored
  // for the model's own weights, whose bits depend on the split.
  int64_t max_rows = 0;
};

// The loss of a tenant's step is the sum over its supervised tokens in all micro-batches, divided by their number.
// A tenant's outcome, gradient, values and moments have the bits of its step alone, whoever shares the step, whatever is
// wrong with the others, and however the sequences are split; its sequences are taken in their order.
// What concerns all throws before anything has changed: ERR_ARGUMENT (no tenants, adapters that share no batch), ERR_ABORTED
// (the job's flag, which is not looked at after the last backward), ERR_FILE, ERR_OUT_OF_MEMORY, ERR_DEVICE_LOST.
std::vector<TenantOutcome> train_step(Model& model, const std::vector<Tenant>& tenants,
                                      const std::vector<MicroBatch>& micro_batches, const StepOptions& options,
                                      const JobControl& control);

}  // namespace rubricate
