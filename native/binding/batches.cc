#include "binding/batches.h"

#include <set>

#include "binding/adapter.h"

namespace rubricate::binding {
namespace {

struct Extents {
  std::vector<int32_t> tokens, starts, slots;
};

Extents extents_argument(const Napi::Object& batch, size_t slots) {
  Extents extents;
  extents.tokens = int32_argument(batch.Get("tokenIds"), "tokenIds");
  extents.starts = int32_argument(batch.Get("sequenceStarts"), "sequenceStarts");
  const auto& starts = extents.starts;
  require(starts.size() >= 2 && starts.front() == 0 && starts.back() == static_cast<int64_t>(extents.tokens.size()),
          "ERR_ARGUMENT", "Expected sequenceStarts from 0 to the number of tokens (", extents.tokens.size(),
          ") with at least one sequence");
  for (size_t s = 1; s < starts.size(); ++s)
    require(starts[s] > starts[s - 1], "ERR_ARGUMENT", "Expected ascending sequenceStarts but received ", starts[s],
            " after ", starts[s - 1]);
  const Napi::Value own = batch.Get("slots");
  if (!is_missing(own)) extents.slots = int32_argument(own, "slots");
  require(extents.slots.empty() || extents.slots.size() + 1 == starts.size(), "ERR_ARGUMENT",
          "Expected one slot for each of ", starts.size() - 1, " sequences but received ", extents.slots.size());
  for (const int32_t slot : extents.slots)
    require(slot >= 0 && static_cast<size_t>(slot) <= slots, "ERR_ARGUMENT", "Expected slots from 0 to ", slots,
            " but received ", slot);
  return extents;
}

// An optimizer in use by a job.
class OptimizerUse {
 public:
  explicit OptimizerUse(std::shared_ptr<OptimizerState> optimizer) : optimizer_(std::move(optimizer)) {
    ++optimizer_->training;
  }
  ~OptimizerUse() { --optimizer_->training; }
  OptimizerUse(const OptimizerUse&) = delete;
  OptimizerUse& operator=(const OptimizerUse&) = delete;

 private:
  std::shared_ptr<OptimizerState> optimizer_;
};

Tenant tenant_argument(const Napi::Value& value, const std::shared_ptr<ModelState>& model,
                       std::vector<std::shared_ptr<void>>& uses) {
  const Napi::Object object = object_argument(value, "tenants");
  const Napi::Value parameters = object.Get("parameters");
  Tenant tenant;
  if (ParametersHandle::is(parameters)) {
    const auto own = ParametersHandle::argument(parameters, "parameters");
    require(own->model == model, "ERR_FOREIGN", "Expected the parameters of this model but received another's");
    tenant.parameters = own->set;
  } else {
    const auto adapter = AdapterHandle::argument(parameters, "parameters");
    uses.push_back(std::make_shared<Use>(adapter, model, true));
    tenant.adapter = adapter->adapter;
    tenant.parameters = adapter->adapter;
  }
  const auto optimizer = OptimizerHandle::argument(object.Get("optimizer"), "optimizer");
  require(optimizer->set == tenant.parameters, "ERR_FOREIGN",
          "Expected the optimizer that was made for these parameters but received another");
  uses.push_back(std::make_shared<OptimizerUse>(optimizer));
  tenant.optimizer = optimizer->moments();
  const Napi::Object options = object_argument(object.Get("options"), "options");
  tenant.options = adamw_argument(options);
  tenant.max_grad_norm = finite_argument(options.Get("maxGradNorm"), "maxGradNorm");
  require(tenant.max_grad_norm >= 0.0, "ERR_ARGUMENT", "Expected a number of 0 or more for maxGradNorm but received ",
          tenant.max_grad_norm);
  tenant.decay_to_zero = boolean_argument(options.Get("decayToZero"), "decayToZero");
  return tenant;
}

}  // namespace

Adapters adapters_argument(const Napi::Value& value, const std::shared_ptr<ModelState>& model) {
  const Napi::Array array = array_argument(value, "adapters");
  Adapters adapters;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const auto adapter = AdapterHandle::argument_or_null(array.Get(i), "adapters");
    if (adapter) adapters.uses.push_back(std::make_shared<Use>(adapter, model, false));
    adapters.core.push_back(adapter ? adapter->adapter : nullptr);
  }
  return adapters;
}

Batch batch_argument(const Napi::Value& value, const char* name, size_t slots) {
  Extents extents = extents_argument(object_argument(value, name), slots);
  return Batch::make(std::move(extents.tokens), std::move(extents.starts), std::move(extents.slots), {});
}

std::vector<MicroBatch> micro_batches_argument(const Napi::Value& value, const char* name, size_t slots) {
  const Napi::Array array = array_argument(value, name);
  std::vector<MicroBatch> batches;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Object object = object_argument(array.Get(i), name);
    Extents extents = extents_argument(object, slots);
    std::vector<int32_t> targets = int32_argument(object.Get("targets"), "targets");
    require(targets.size() == extents.tokens.size(), "ERR_ARGUMENT", "Expected one target for each of ",
            extents.tokens.size(), " tokens but received ", targets.size());
    batches.push_back(
        {std::move(extents.tokens), std::move(extents.starts), std::move(extents.slots), std::move(targets)});
  }
  return batches;
}

TrainRequest train_request_argument(const Napi::Value& value, const std::shared_ptr<ModelState>& model) {
  const Napi::Object object = object_argument(value, "request");
  const Napi::Array tenants = array_argument(object.Get("tenants"), "tenants");
  TrainRequest request;
  std::set<const ParameterSet*> seen;
  size_t slots = 0;
  for (uint32_t i = 0; i < tenants.Length(); ++i) {
    request.tenants.push_back(tenant_argument(tenants.Get(i), model, request.uses));
    const Tenant& tenant = request.tenants.back();
    require(seen.insert(tenant.parameters.get()).second, "ERR_ARGUMENT", "Expected each adapter once for tenants");
    slots += tenant.adapter != nullptr;
  }
  request.micro_batches = micro_batches_argument(object.Get("microBatches"), "microBatches", slots);
  request.recompute = boolean_argument(object.Get("recompute"), "recompute");
  request.update = boolean_argument(object.Get("update"), "update");
  return request;
}

AdamWOptions adamw_argument(const Napi::Object& options) {
  AdamWOptions adamw;
  adamw.learning_rate = finite_argument(options.Get("learningRate"), "learningRate");
  adamw.beta1 = finite_argument(options.Get("beta1"), "beta1");
  adamw.beta2 = finite_argument(options.Get("beta2"), "beta2");
  adamw.eps = finite_argument(options.Get("epsilon"), "epsilon");
  adamw.weight_decay = finite_argument(options.Get("weightDecay"), "weightDecay");
  return adamw;
}

SamplingOptions sampling_argument(const Napi::Value& value, const char* name) {
  const Napi::Object object = object_argument(value, name);
  SamplingOptions sampling;
  sampling.temperature = float_argument(object.Get("temperature"), "temperature");
  sampling.top_k = static_cast<int32_t>(integer_argument(object.Get("topK"), "topK", 0, INT32_MAX));
  sampling.top_p = float_argument(object.Get("topP"), "topP");
  sampling.min_p = float_argument(object.Get("minP"), "minP");
  sampling.repetition_penalty = float_argument(object.Get("repetitionPenalty"), "repetitionPenalty");
  sampling.seed = static_cast<uint64_t>(integer_argument(object.Get("seed"), "seed", 0, (int64_t{1} << 53) - 1));
  return sampling;
}

}  // namespace rubricate::binding
