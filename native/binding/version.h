// NativeVersion of lib/binding/engine.ts.
#pragma once

#include "adapter/adapter_version.h"
#include "binding/handle.h"
#include "binding/states.h"

namespace rubricate::binding {

struct VersionState {
  std::shared_ptr<Environment> environment;
  std::shared_ptr<const AdapterVersion> version;
  ExternalBytes bytes;
};

class VersionHandle : public Handle<VersionHandle, VersionState> {
 public:
  static constexpr const char* kName = "a version of an adapter";
  static constexpr napi_type_tag kTag = {0x4b8e1c97f20d4a65, 0x93a7d05c6be1f842};
  static constexpr Napi::FunctionReference Environment::*kConstructor = &Environment::version;
  static Napi::Function define(Napi::Env env);
  explicit VersionHandle(const Napi::CallbackInfo& info);

  Napi::Value id(const Napi::CallbackInfo& info);
  Napi::Value bytes(const Napi::CallbackInfo& info);
  Napi::Value require_finite(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);
};

// publish(adapter): a NativeJob<NativeVersion>. While a job of the model trains the adapter, the values are copied
// between two ops of that job; otherwise at once, and not again while they do not change.
Napi::Value publish_version(const Napi::CallbackInfo& info, const std::shared_ptr<ModelState>& model);

}  // namespace rubricate::binding
