#include "binding/adapter.h"

#include <cstring>
#include <utility>
#include <vector>

namespace rubricate::binding {

Napi::Function AdapterHandle::define(Napi::Env env) {
  return DefineClass(
      env, "NativeAdapter",
      {getter_of<&AdapterHandle::names>("names"), getter_of<&AdapterHandle::shapes>("shapes"),
       method_of<&AdapterHandle::indices>("indices"), method_of<&AdapterHandle::values>("values"),
       method_of<&AdapterHandle::gradients>("gradients"), method_of<&AdapterHandle::set_values>("setValues"),
       method_of<&AdapterHandle::dispose>("dispose")});
}

AdapterHandle::AdapterHandle(const Napi::CallbackInfo& info) : Handle(info) {
  guarded(info.Env(), [&] {
    const Architecture architecture = Architecture::parse(string_argument(info[0], "architecture"));
    std::vector<float> constants;
    if (!is_missing(info[2])) {
      const std::span<const float> given = float32_elements(info[2], "constants");
      constants.assign(given.begin(), given.end());
    }
    std::vector<int32_t> indices;
    if (!is_missing(info[3])) indices = int32_argument(info[3], "indices");
    AdapterPlan plan = AdapterPlan::parse(string_argument(info[1], "plan"), std::move(constants), indices);
    auto state = std::make_shared<AdapterState>();
    state->environment = shared_environment(info.Env());
    state->adapter = std::make_shared<Adapter>(architecture, std::move(plan));
    state->bytes = ExternalBytes(state->environment, 2 * state->adapter->values().bytes());
    state_ = std::move(state);
  });
}

Napi::Value AdapterHandle::names(const Napi::CallbackInfo& info) { return names_value(info.Env(), *use()->adapter); }

Napi::Value AdapterHandle::shapes(const Napi::CallbackInfo& info) { return shapes_value(info.Env(), *use()->adapter); }

Napi::Value AdapterHandle::indices(const Napi::CallbackInfo& info) {
  const std::vector<PlanSparse>& all = use()->adapter->plan()->indices;
  const Napi::Array list = Napi::Array::New(info.Env(), all.size());
  for (size_t i = 0; i < all.size(); ++i) {
    const std::vector<int32_t> own = all[i].index->indices();
    Napi::Int32Array array = Napi::Int32Array::New(info.Env(), own.size());
    std::memcpy(array.Data(), own.data(), own.size() * sizeof(int32_t));
    list.Set(static_cast<uint32_t>(i), array);
  }
  return list;
}

namespace {

// While a training job runs, it writes values and gradients on its own thread.
void require_at_rest(const AdapterState& state) {
  require(state.used.training == 0, "ERR_BUSY", "Expected an adapter that is not being trained by a running job");
}

void require_count(std::span<const float> values, const Tensor& own) {
  require(static_cast<int64_t>(values.size()) == own.count(), "ERR_SHAPE", "Expected ", own.count(),
          " numbers for values but received ", values.size());
}

}  // namespace

Napi::Value AdapterHandle::values(const Napi::CallbackInfo& info) {
  require_at_rest(*use());
  const Tensor& values = state_->adapter->values();
  if (!is_missing(info[0])) {
    const std::span<float> into = float32_elements(info[0], "into");
    require_count(into, values);
    std::memcpy(into.data(), values.raw(), into.size_bytes());
    return info[0];
  }
  return float32_value(info.Env(), values.data<float>(), values.count());
}

Napi::Value AdapterHandle::gradients(const Napi::CallbackInfo& info) {
  require_at_rest(*use());
  const Tensor& gradients = state_->adapter->gradients();
  return float32_value(info.Env(), gradients.data<float>(), gradients.count());
}

Napi::Value AdapterHandle::set_values(const Napi::CallbackInfo& info) {
  const auto state = use();
  const std::span<const float> values = float32_elements(info[0], "values");
  const Tensor& own = state->adapter->values();
  require_count(values, own);
  require(!state->used.in_use(), "ERR_BUSY", "Expected an adapter that no running job uses");
  std::memcpy(own.raw(), values.data(), values.size_bytes());
  state->adapter->changed();
  return info.Env().Undefined();
}

Napi::Value AdapterHandle::dispose(const Napi::CallbackInfo& info) {
  state_.reset();
  return info.Env().Undefined();
}

}  // namespace rubricate::binding
