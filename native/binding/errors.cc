#include "binding/errors.h"

#include <new>

#include "binding/environment.h"

namespace rubricate::binding {

Failure current_failure() {
  try {
    throw;
  } catch (const Error& error) {
    return {error.code(), error.what()};
  } catch (const std::bad_alloc&) {
    return {"ERR_OUT_OF_MEMORY", "Memory could not be allocated"};
  } catch (const std::exception& error) {
    return {"ERR_INTERNAL", error.what()};
  } catch (...) {
    return {"ERR_INTERNAL", "An unknown exception was thrown"};
  }
}

Napi::Error make_error(Napi::Env env, const Failure& failure) {
  const auto* environment = env.GetInstanceData<std::shared_ptr<Environment>>();  // null if its creation failed
  if (environment != nullptr && !(*environment)->error_class.IsEmpty()) {
    const Napi::FunctionReference& error_class = (*environment)->error_class;
    return Napi::Error(
        env, error_class.New({Napi::String::New(env, failure.code), Napi::String::New(env, failure.message)}));
  }
  Napi::Error error = Napi::Error::New(env, failure.message);
  error.Set("code", Napi::String::New(env, failure.code));
  return error;
}

Napi::Error invalid_argument(Napi::Env env, const Expectation& wanted, const Napi::Value& received) {
  const auto* environment = env.GetInstanceData<std::shared_ptr<Environment>>();
  if (environment == nullptr || (*environment)->invalid.IsEmpty())
    return make_error(
        env, {wanted.code, concat("Expected ", wanted.expected, " for ", wanted.name, " but received another")});
  const Napi::Value error =
      (*environment)
          ->invalid.Call({Napi::String::New(env, wanted.name), Napi::String::New(env, wanted.expected),
                          received.IsEmpty() ? env.Undefined() : received, Napi::String::New(env, wanted.code)});
  return {env, error};
}

}  // namespace rubricate::binding
