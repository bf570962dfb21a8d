#include "binding/batches.h"

#include <algorithm>
#include <optional>
#include <set>

#include "binding/adapter.h"

namespace rubricate::binding {
namespace {

BatchArrays arrays_argument(const Napi::Object& batch) {
  BatchArrays arrays;
  arrays.tokens = int32_argument(batch.Get("tokenIds"), "tokenIds");
  arrays.starts = int32_argument(batch.Get("sequenceStarts"), "sequenceStarts");
  const Napi::Value slots = batch.Get("slots");
  if (!is_missing(slots)) arrays.slots = int32_argument(slots, "slots");
  return arrays;
}

// Marks an optimizer as used by a job.
class OptimizerUse {
 public:
  explicit OptimizerUse(std::shared_ptr<NativeOptimizerState> optimizer) : optimizer_(std::move(optimizer)) {
    ++optimizer_->training;
  }
  ~OptimizerUse() { --optimizer_->training; }
  OptimizerUse(const OptimizerUse&) = delete;
  OptimizerUse& operator=(const OptimizerUse&) = delete;

 private:
  std::shared_ptr<NativeOptimizerState> optimizer_;
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
    uses.push_back(std::make_shared<AdapterUse>(adapter, model, true));
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
    if (adapter) adapters.uses.push_back(std::make_shared<AdapterUse>(adapter, model, false));
    adapters.core.push_back(adapter ? adapter->adapter : nullptr);
  }
  return adapters;
}

Batch batch_argument(const Napi::Value& value, const char* name, const BatchBounds& bounds) {
  return {arrays_argument(object_argument(value, name)), bounds};
}

namespace {

// The only one of several tenants whose sequences a micro-batch has; null if there is none such.
Tenant* only_tenant(std::vector<Tenant>& tenants, const std::vector<int32_t>& slots) {
  if (tenants.size() < 2 || slots.empty()) return nullptr;
  const int32_t slot = slots.front();
  const bool only = std::all_of(slots.begin(), slots.end(), [slot](int32_t other) { return other == slot; });
  if (!only || slot < 1 || static_cast<size_t>(slot) > tenants.size()) return nullptr;
  return &tenants[static_cast<size_t>(slot - 1)];
}

// The micro-batches of a step. What is wrong with one of a single tenant is that tenant's outcome.
std::vector<MicroBatch> step_batches_argument(const Napi::Value& value, const BatchBounds& bounds,
                                              std::vector<Tenant>& tenants) {
  const Napi::Array array = array_argument(value, "microBatches");
  std::vector<MicroBatch> batches;
  std::optional<Error> refused;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Object object = object_argument(array.Get(i), "microBatches");
    BatchArrays arrays = arrays_argument(object);
    std::vector<int32_t> targets = int32_argument(object.Get("targets"), "targets");
    Tenant* const tenant = only_tenant(tenants, arrays.slots);
    try {
      batches.emplace_back(Batch(std::move(arrays), bounds), std::move(targets));
    } catch (const Error& error) {
      if (tenant == nullptr) throw;
      if (!tenant->refused) tenant->refused = error;
      if (!refused) refused = error;
    }
  }
  if (batches.empty() && refused) throw Error(*refused);
  return batches;
}

}  // namespace

std::vector<MicroBatch> micro_batches_argument(const Napi::Value& value, const BatchBounds& bounds) {
  std::vector<Tenant> none;
  return step_batches_argument(value, bounds, none);
}

int64_t max_rows_argument(const Napi::Value& value) {
  return is_missing(value) ? 0 : integer_argument(value, "maxRows", 1, INT32_MAX);
}

TrainRequest train_request_argument(const Napi::Value& value, const std::shared_ptr<ModelState>& model) {
  const std::shared_ptr<Model> core = model->model;  // reading the request may run JavaScript that frees it
  const Napi::Object object = object_argument(value, "request");
  const Napi::Array tenants = array_argument(object.Get("tenants"), "tenants");
  TrainRequest request;
  std::set<const ParameterSet*> seen;
  size_t adapters = 0;
  for (uint32_t i = 0; i < tenants.Length(); ++i) {
    request.tenants.push_back(tenant_argument(tenants.Get(i), model, request.uses));
    const Tenant& tenant = request.tenants.back();
    require(seen.insert(tenant.parameters.get()).second, "ERR_ARGUMENT", "Expected each adapter once for tenants");
    adapters += tenant.adapter != nullptr;
  }
  request.micro_batches = step_batches_argument(object.Get("microBatches"),
                                                BatchBounds::of(core->architecture(), adapters), request.tenants);
  request.options.recompute = boolean_argument(object.Get("recompute"), "recompute");
  request.options.update = boolean_argument(object.Get("update"), "update");
  request.options.max_rows = max_rows_argument(object.Get("maxRows"));
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

namespace {

std::shared_ptr<const std::vector<LogitBias>> logit_bias_argument(const Napi::Value& value) {
  if (value.IsNull()) return nullptr;
  const Napi::Object object = object_argument(value, "logitBias");
  const std::vector<int32_t> ids = int32_argument(object.Get("ids"), "logitBias.ids");
  const std::vector<float> biases = float32_argument(object.Get("biases"), "logitBias.biases");
  require(ids.size() == biases.size(), "ERR_ARGUMENT", "Expected ", ids.size(),
          " numbers for logitBias.biases but received ", biases.size());
  auto own = std::make_shared<std::vector<LogitBias>>();
  for (size_t i = 0; i < ids.size(); ++i) own->push_back({ids[i], biases[i]});
  return own;
}

}  // namespace

SamplingOptions sampling_argument(const Napi::Value& value, const char* name) {
  const Napi::Object object = object_argument(value, name);
  SamplingOptions sampling;
  sampling.temperature = float_argument(object.Get("temperature"), "temperature");
  sampling.top_k = static_cast<int32_t>(integer_argument(object.Get("topK"), "topK", 0, INT32_MAX));
  sampling.top_p = float_argument(object.Get("topP"), "topP");
  sampling.min_p = float_argument(object.Get("minP"), "minP");
  sampling.repetition_penalty = float_argument(object.Get("repetitionPenalty"), "repetitionPenalty");
  sampling.frequency_penalty = float_argument(object.Get("frequencyPenalty"), "frequencyPenalty");
  sampling.presence_penalty = float_argument(object.Get("presencePenalty"), "presencePenalty");
  sampling.logit_bias = logit_bias_argument(object.Get("logitBias"));
  sampling.seed = static_cast<uint64_t>(integer_argument(object.Get("seed"), "seed", 0, (int64_t{1} << 53) - 1));
  return sampling;
}

}  // namespace rubricate::binding
