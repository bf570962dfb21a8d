// The JavaScript objects of the binding: each class wraps one native object by shared pointer. Jobs share what they
// use, so neither dispose() nor the garbage collector destroys an object that a running job needs.
#pragma once

#include <napi.h>

#include <memory>
#include <utility>

#include "binding/arguments.h"
#include "binding/environment.h"
#include "binding/errors.h"
#include "binding/jobs.h"

namespace rubricate::binding {

// Derived defines `static constexpr const char* kName` (as shown in messages: "a model"), `static constexpr
// napi_type_tag kTag` (random, the same in every environment) and `static Napi::FunctionReference
// Environment::*kConstructor`. State has a member `std::shared_ptr<Environment> environment`.
template <typename Derived, typename State>
class Handle : public Napi::ObjectWrap<Derived> {
 public:
  explicit Handle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Derived>(info) {
    const auto status = napi_type_tag_object(info.Env(), info.This(), &Derived::kTag);
    if (status != napi_ok) throw Napi::Error::New(info.Env());
  }

  // Makes a handle that wraps `state`.
  static Napi::Object make(Napi::Env env, std::shared_ptr<State> state) {
    Environment& environment = Environment::of(env);
    struct Reset {
      std::shared_ptr<void>& making;
      ~Reset() { making.reset(); }
    } reset{environment.making};
    environment.making = std::move(state);
    return (environment.*Derived::kConstructor).New({});
  }

  // Whether a value is a handle of this class.
  static bool is(const Napi::Value& value) {
    bool tagged = false;
    return value.IsObject() && napi_check_object_type_tag(value.Env(), value, &Derived::kTag, &tagged) == napi_ok &&
           tagged;
  }
  // The native object of an argument. Throws ERR_ARGUMENT, ERR_FOREIGN, ERR_DISPOSED.
  static std::shared_ptr<State> argument(const Napi::Value& value, const char* name) {
    if (!is(value)) reject_argument(name, Derived::kName, value);
    Derived* handle = Derived::Unwrap(value.As<Napi::Object>());
    const std::shared_ptr<State>& state = handle->use(name);
    require(state->environment.get() == &Environment::of(value.Env()), "ERR_FOREIGN", "Expected ", Derived::kName,
            " of this thread for ", name, " but received one of another");
    return state;
  }
  static std::shared_ptr<State> argument_or_null(const Napi::Value& value, const char* name) {
    return is_missing(value) ? nullptr : argument(value, name);
  }

 protected:
  // V8 checks the receiver of a method (it throws a TypeError, "Illegal invocation") but not that of a getter, and
  // ObjectWrap's accessors would accept any wrapped object as a Derived.
  template <Napi::Value (Derived::*method)(const Napi::CallbackInfo&)>
  static napi_value get(napi_env env, napi_callback_info raw) {
    try {
      const Napi::CallbackInfo info(env, raw);
      return guarded(env, [&] {
        if (!is(info.This())) reject_argument("this", Derived::kName, info.This());
        return (Derived::Unwrap(info.This().template As<Napi::Object>())->*method)(info);
      });
    } catch (const Napi::Error& error) {
      error.ThrowAsJavaScriptException();
      return nullptr;
    }
  }

  // Throws ERR_DISPOSED if the handle was disposed of.
  const std::shared_ptr<State>& use(const char* name = "this") const {
    require(state_ != nullptr, "ERR_DISPOSED", "Expected ", Derived::kName, " for ", name,
            " but received one that was disposed of");
    return state_;
  }

  // For the constructor of a class that only C++ instantiates.
  std::shared_ptr<State> take_made(const Napi::CallbackInfo& info) {
    auto& making = Environment::of(info.Env()).making;
    require(making != nullptr, "ERR_ARGUMENT", "Expected no call of this constructor: it is not public");
    return std::static_pointer_cast<State>(std::exchange(making, nullptr));
  }

  using Method = Napi::Value (Derived::*)(const Napi::CallbackInfo&);
  template <Method method>
  Napi::Value sync(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] { return (static_cast<Derived*>(this)->*method)(info); });
  }
  template <Method method>
  Napi::Value async(const Napi::CallbackInfo& info) {
    return job_or_rejection(info.Env(), [&] { return (static_cast<Derived*>(this)->*method)(info); });
  }
  using Descriptor = Napi::ClassPropertyDescriptor<Derived>;
  template <Method method>
  static Descriptor method_of(const char* name) {
    return Derived::InstanceMethod(name, static_cast<Method>(&Derived::template sync<method>));
  }
  template <Method method>
  static Descriptor job_of(const char* name) {
    return Derived::InstanceMethod(name, static_cast<Method>(&Derived::template async<method>));
  }
  template <Method method>
  static Descriptor getter_of(const char* name) {
    napi_property_descriptor getter = {};
    getter.utf8name = name;
    getter.getter = &Handle::template get<method>;
    return Descriptor(getter);
  }

  std::shared_ptr<State> state_;
};

}  // namespace rubricate::binding
