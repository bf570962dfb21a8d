#include "binding/adapter.h"

#include <cstring>

namespace rubricate::binding {

Napi::Function AdapterHandle::define(Napi::Env env) {
  return DefineClass(
      env, "NativeAdapter",
      {getter_of<&AdapterHandle::names>("names"), getter_of<&AdapterHandle::widths>("widths"),
       method_of<&AdapterHandle::values>("values"), method_of<&AdapterHandle::gradients>("gradients"),
       method_of<&AdapterHandle::set_values>("setValues"), method_of<&AdapterHandle::dispose>("dispose")});
}

AdapterHandle::AdapterHandle(const Napi::CallbackInfo& info) : Handle(info) {
  guarded(info.Env(), [&] {
    const Architecture architecture = Architecture::parse(string_argument(info[0], "architecture"));
    const auto variant = named_argument(info[1], "variant", kRedVariantNames);
    const Napi::Array site_names = array_argument(info[2], "sites");
    std::vector<Site> sites;
    for (uint32_t i = 0; i < site_names.Length(); ++i)
      sites.push_back(named_argument(site_names.Get(i), "sites", kSiteNames));
    const std::vector<int32_t> layers = int32_argument(info[3], "layers");
    auto state = std::make_shared<AdapterState>();
    state->environment = shared_environment(info.Env());
    state->adapter = std::make_shared<RedAdapter>(architecture, variant, std::move(sites),
                                                  std::vector<int64_t>(layers.begin(), layers.end()));
    state->bytes = ExternalBytes(state->environment, 2 * state->adapter->values().bytes());
    state_ = std::move(state);
  });
}

Napi::Value AdapterHandle::names(const Napi::CallbackInfo& info) {
  const auto& parameters = use()->adapter->parameters();
  Napi::Array names = Napi::Array::New(info.Env(), parameters.size());
  for (uint32_t i = 0; i < parameters.size(); ++i) names.Set(i, parameters[i].name);
  return names;
}

Napi::Value AdapterHandle::widths(const Napi::CallbackInfo& info) {
  const auto& parameters = use()->adapter->parameters();
  Napi::Array widths = Napi::Array::New(info.Env(), parameters.size());
  for (uint32_t i = 0; i < parameters.size(); ++i) widths.Set(i, static_cast<double>(parameters[i].master.count()));
  return widths;
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
