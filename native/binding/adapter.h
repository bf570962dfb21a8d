// The classes NativeAdapter, NativeParameters and NativeOptimizer that lib/binding/ declares.
#pragma once

#include "binding/handle.h"
#include "binding/states.h"

namespace rubricate::binding {

// Canonical names of parameters, and their shapes.
Napi::Array names_value(Napi::Env env, ParameterSet& set);
Napi::Array shapes_value(Napi::Env env, ParameterSet& set);

class AdapterHandle : public Handle<AdapterHandle, AdapterState> {
 public:
  static constexpr const char* kName = "an adapter";
  static constexpr napi_type_tag kTag = {0x9a0c3b5e61f24d17, 0x8b7e20f1c4d9635a};
  static constexpr Napi::FunctionReference Environment::*kConstructor = &Environment::adapter;
  static Napi::Function define(Napi::Env env);
  explicit AdapterHandle(const Napi::CallbackInfo& info);

  Napi::Value names(const Napi::CallbackInfo& info);
  Napi::Value shapes(const Napi::CallbackInfo& info);
  Napi::Value indices(const Napi::CallbackInfo& info);
  Napi::Value values(const Napi::CallbackInfo& info);
  Napi::Value gradients(const Napi::CallbackInfo& info);
  Napi::Value set_values(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);
};

class ParametersHandle : public Handle<ParametersHandle, ParametersState> {
 public:
  static constexpr const char* kName = "a model's parameters";
  static constexpr napi_type_tag kTag = {0x37d1f60a9be84c25, 0xa1c85e7733b40f92};
  static constexpr Napi::FunctionReference Environment::*kConstructor = &Environment::parameters;
  static Napi::Function define(Napi::Env env);
  explicit ParametersHandle(const Napi::CallbackInfo& info);

  Napi::Value names(const Napi::CallbackInfo& info);
  Napi::Value shapes(const Napi::CallbackInfo& info);
  Napi::Value value(const Napi::CallbackInfo& info);
  Napi::Value gradient(const Napi::CallbackInfo& info);
  Napi::Value read_value(const Napi::CallbackInfo& info);
  Napi::Value stage_value(const Napi::CallbackInfo& info);
  Napi::Value commit_value(const Napi::CallbackInfo& info);

 private:
  size_t index_argument(const Napi::Value& index) const;
  Parameter& parameter(const Napi::Value& index) const;
};

class OptimizerHandle : public Handle<OptimizerHandle, NativeOptimizerState> {
 public:
  static constexpr const char* kName = "an optimizer";
  static constexpr napi_type_tag kTag = {0x5c42e9d70b16483f, 0x9fd3061ae85b7c24};
  static constexpr Napi::FunctionReference Environment::*kConstructor = &Environment::optimizer;
  static Napi::Function define(Napi::Env env);
  explicit OptimizerHandle(const Napi::CallbackInfo& info);

  Napi::Value step(const Napi::CallbackInfo& info);
  Napi::Value prepare(const Napi::CallbackInfo& info);
  Napi::Value moments(const Napi::CallbackInfo& info);
  Napi::Value frozen(const Napi::CallbackInfo& info);
  Napi::Value freeze(const Napi::CallbackInfo& info);
  Napi::Value add_nuclear_norm(const Napi::CallbackInfo& info);
  Napi::Value set_moments(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

 private:
  const std::shared_ptr<NativeOptimizerState>& idle() const;
};

}  // namespace rubricate::binding
