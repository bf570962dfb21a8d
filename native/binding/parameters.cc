#include <cstring>

#include "binding/adapter.h"

namespace rubricate::binding {

Napi::Function ParametersHandle::define(Napi::Env env) {
  return DefineClass(env, "NativeParameters",
                     {getter_of<&ParametersHandle::names>("names"), getter_of<&ParametersHandle::shapes>("shapes"),
                      method_of<&ParametersHandle::value>("value"), method_of<&ParametersHandle::gradient>("gradient"),
                      method_of<&ParametersHandle::set_value>("setValue")});
}

ParametersHandle::ParametersHandle(const Napi::CallbackInfo& info) : Handle(info) {
  guarded(info.Env(), [&] { state_ = take_made(info); });
}

Napi::Value ParametersHandle::names(const Napi::CallbackInfo& info) {
  const auto& parameters = use()->set->parameters();
  Napi::Array names = Napi::Array::New(info.Env(), parameters.size());
  for (uint32_t i = 0; i < parameters.size(); ++i) names.Set(i, parameters[i].name);
  return names;
}

Napi::Value ParametersHandle::shapes(const Napi::CallbackInfo& info) {
  const auto& parameters = use()->set->parameters();
  Napi::Array shapes = Napi::Array::New(info.Env(), parameters.size());
  for (uint32_t i = 0; i < parameters.size(); ++i) shapes.Set(i, shape_value(info.Env(), parameters[i].master.shape()));
  return shapes;
}

Parameter& ParametersHandle::parameter(const Napi::Value& index) const {
  auto& parameters = use()->set->parameters();
  require(state_->model->jobs == 0, "ERR_BUSY", "Expected a model that no job runs on");
  return parameters[static_cast<size_t>(
      integer_argument(index, "index", 0, static_cast<int64_t>(parameters.size()) - 1))];
}

Napi::Value ParametersHandle::value(const Napi::CallbackInfo& info) {
  const Parameter& own = parameter(info[0]);
  return float32_value(info.Env(), own.master.data<float>(), own.master.count());
}

Napi::Value ParametersHandle::gradient(const Napi::CallbackInfo& info) {
  const Parameter& own = parameter(info[0]);
  return float32_value(info.Env(), own.grad.data<float>(), own.grad.count());
}

Napi::Value ParametersHandle::set_value(const Napi::CallbackInfo& info) {
  const std::vector<float> value = float32_argument(info[1], "value");
  Parameter& own = parameter(info[0]);
  require(static_cast<int64_t>(value.size()) == own.master.count(), "ERR_SHAPE", "Expected ", own.master.count(),
          " numbers for ", own.name, " but received ", value.size());
  std::memcpy(own.master.raw(), value.data(), static_cast<size_t>(own.master.bytes()));
  if (own.publish) own.publish();
  return info.Env().Undefined();
}

}  // namespace rubricate::binding
