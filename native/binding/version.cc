#include "binding/version.h"

#include "binding/adapter.h"
#include "binding/model.h"

namespace rubricate::binding {

Napi::Function VersionHandle::define(Napi::Env env) {
  return DefineClass(
      env, "NativeVersion",
      {getter_of<&VersionHandle::id>("id"), getter_of<&VersionHandle::bytes>("bytes"),
       method_of<&VersionHandle::require_finite>("requireFinite"), method_of<&VersionHandle::dispose>("dispose")});
}

VersionHandle::VersionHandle(const Napi::CallbackInfo& info) : Handle(info) {
  guarded(info.Env(), [&] { state_ = take_made(info); });
}

Napi::Value VersionHandle::id(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(use()->version->id()));
}

Napi::Value VersionHandle::bytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(use()->version->bytes()));
}

Napi::Value VersionHandle::require_finite(const Napi::CallbackInfo& info) {
  use()->version->require_finite();
  return info.Env().Undefined();
}

Napi::Value VersionHandle::dispose(const Napi::CallbackInfo& info) {
  state_.reset();
  return info.Env().Undefined();
}

namespace {

Napi::Object version_value(Napi::Env env, const std::shared_ptr<const AdapterVersion>& version) {
  auto state = std::make_shared<VersionState>();
  state->environment = shared_environment(env);
  state->version = version;
  state->bytes = ExternalBytes(state->environment, version->bytes());
  return VersionHandle::make(env, std::move(state));
}

}  // namespace

Napi::Value publish_version(const Napi::CallbackInfo& info, const std::shared_ptr<ModelState>& model) {
  const auto adapter = AdapterHandle::argument(info[0], "adapter");
  require(!model->disposed, "ERR_DISPOSED", "Expected a model but received one that was disposed of");
  const bool reads_weights = adapter->adapter->plan()->reads_weights();
  if (adapter->used.training == 0 && !reads_weights)  // only this thread could change the values
    return Jobs::resolved(info.Env(), version_value(info.Env(), adapter->published.version_of(*adapter->adapter, {})));
  auto work = [adapter, model, reads_weights](const JobControl& control, Progress&) -> Settle {
    const WeightProducts products(model->model.get(), control);
    auto version = reads_weights ? adapter->published.version_of(*adapter->adapter, products)
                                 : AdapterVersion::of(*adapter->adapter);
    return [version](Napi::Env env) { return version_value(env, version); };
  };
  return start_model_job(model, JobQueue::Length::brief, std::move(work),
                         {std::make_shared<AdapterUse>(adapter, model, false)});
}

// Not locked while the version is made, which may let another job run that asks for it too.
std::shared_ptr<const AdapterVersion> PublishedVersion::version_of(const Adapter& adapter,
                                                                   const WeightProducts& products) {
  const int64_t present = adapter.version();
  {
    const std::lock_guard lock(mutex_);
    if (version_ && at_ == present) return version_;
  }
  auto made = AdapterVersion::of(adapter, products);
  const std::lock_guard lock(mutex_);
  version_ = made;
  at_ = present;
  return made;
}

}  // namespace rubricate::binding
