// One optimizer step: forward and backward of every micro-batch, clipping, AdamW.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "adapter/red_adapter.h"
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
  std::shared_ptr<RedAdapter> adapter;  // null: the model's own weights
  std::shared_ptr<ParameterSet> parameters;
  std::shared_ptr<OptimizerState> optimizer;
  AdamWOptions options;
  double max_grad_norm = 1.0;  // 0: no clipping
  bool decay_to_zero = false;  // true: weight decay pulls scales to 0 too, as in the reference implementation
};

struct TenantResult {
  double loss = 0.0;  // mean nats over the tenant's supervised tokens of all micro-batches
  int64_t supervised = 0;
  int64_t correct = 0;     // supervised tokens whose largest logit was the target
  double grad_norm = 0.0;  // before clipping
};

// The loss of a tenant's step is the sum over its supervised tokens in all micro-batches, divided by their number. With
// `update` false, gradients are computed and kept for reading, and nothing else changes. A loss or gradient that is not
// finite, or an update whose result is not, throws ERR_NOT_FINITE before any optimizer has changed anything. So do
// ERR_ABORTED and ERR_FILE.
std::vector<TenantResult> train_step(Model& model, const std::vector<Tenant>& tenants,
                                     const std::vector<MicroBatch>& micro_batches, bool recompute, bool update,
                                     const JobControl& control);

}  // namespace rubricate
