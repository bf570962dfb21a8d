// One optimizer step: forward and backward of every micro-batch, clipping, AdamW. And evaluation, which is its first
// half.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "adapter/red_adapter.h"
#include "model/model.h"
#include "ops/adamw/adamw.h"

namespace rubricate {

// Moments of a parameter set, in its order, fp32, where its masters are; `step` counts the updates made.
//
// An adapter's are the CPU's, like all of it, and what it is trained on has a copy, which stays there from step to step
// and is brought home after each: 2 MiB for a 7B model's adapter. So a checkpoint waits for no device, and an adapter
// goes on anywhere.
struct OptimizerState {
  explicit OptimizerState(ParameterSet& parameters);
  std::vector<Tensor> m, v;
  int64_t step = 0;
  std::shared_ptr<Arena> arena;

  // Of a set that is one whole (ParameterSet::whole): its moments end to end, and what decay pulls each number to.
  struct Whole {
    Tensor m, v, decay_targets;
    bool defined() const { return m.defined(); }
    Whole copied_to(const std::shared_ptr<Arena>& there) const;
  };
  Whole whole;
  // `whole` for a step that computes with that stream: itself on the CPU. May throw ERR_OUT_OF_MEMORY.
  const Whole& placed(const std::shared_ptr<Stream>& stream);
  void updating() { placed_is_whole_ = false; }  // call before the step writes to it,
  void fetch();                                  // after that; waits for the device,
  void changed() { placed_is_whole_ = false; }   // and after writing to m and v

 private:
  Whole placed_;  // the copy on a device
  bool placed_is_whole_ = false;
};

// Somebody whose parameters are trained: an adapter, or the model itself. In one batch sequences of slot i belong to
// tenant i - 1 (to tenant 0, in slot 0, when it trains the model's own weights).
struct Tenant {
  std::shared_ptr<RedAdapter> adapter;  // null: the model's own weights
  std::shared_ptr<ParameterSet> parameters;
  std::shared_ptr<OptimizerState> optimizer;
  AdamWOptions options;
  double max_grad_norm = 1.0;  // 0: no clipping
  bool decay_to_zero = false;  // true: weight decay pulls scales to 0 too, as in the reference implementation
};

struct MicroBatch {
  std::vector<int32_t> tokens, starts, slots;
  std::vector<int32_t> targets;  // [T]: id of the next token, or -1 where no loss counts
};

struct JobControl {
  const std::atomic<bool>* cancelled = nullptr;
  std::function<void()> yield;
  std::shared_ptr<Arena> arena;  // where the model computes
  Tape::Observer observer = {};  // also told of "update": norm, clipping, AdamW
  // Throws ERR_FILE where the weights that the job reads changed under it: called before an update makes use of them.
  std::function<void()> check_weights = {};
};

struct TenantResult {
  double loss = 0.0;  // mean nats over the tenant's supervised tokens of all micro-batches
  int64_t supervised = 0;
  int64_t correct = 0;     // supervised tokens whose largest logit was the target
  double grad_norm = 0.0;  // before clipping
};

// The loss of a tenant's step is the sum over its supervised tokens in all micro-batches divided by their number. With
// update false, gradients are formed and left for reading, and nothing changes. A loss or gradient that is not finite
// throws ERR_NOT_FINITE before any optimizer touches anything; so do ERR_ABORTED and ERR_FILE.
std::vector<TenantResult> train_step(Model& model, const std::vector<Tenant>& tenants,
                                     const std::vector<MicroBatch>& micro_batches, bool recompute, bool update,
                                     const JobControl& control);

// Sums (not means) of nats per slot; index 0 is the base without edit. adapters[i] serves slot i + 1.
struct EvaluationSums {
  std::vector<double> nats;
  std::vector<int64_t> supervised, correct;
};
EvaluationSums evaluate(const Model& model, const std::vector<std::shared_ptr<RedAdapter>>& adapters,
                        const std::vector<MicroBatch>& micro_batches, const JobControl& control);

}  // namespace rubricate
