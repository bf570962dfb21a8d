// From C++ exceptions to JavaScript errors with a stable code.
#pragma once

#include <napi.h>

#include <string>

#include "base/error.h"

namespace rubricate::binding {

struct Failure {
  std::string code, message;
};

// Code and message of the exception being handled; call it within a catch block. Any exception other than
// rubricate::Error and std::bad_alloc is ERR_INTERNAL.
Failure current_failure();

// `new errorClass(code, message)`, with the class given to setErrors(); before setErrors(), a plain Error with `code`.
Napi::Error make_error(Napi::Env env, const Failure& failure);

// Calls `invalid(name, expected, received, code)` of lib/errors.ts, given to setErrors(): only that function describes
// values. Before setErrors(), the error has no description of the value.
struct Expectation {
  const char *code, *name;
  std::string expected;
};
Napi::Error invalid_argument(Napi::Env env, const Expectation& wanted, const Napi::Value& received);

// Runs `body` and rethrows its exceptions as JavaScript errors. Every call from JavaScript goes through here.
template <typename Body>
auto guarded(Napi::Env env, Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw make_error(env, current_failure());
  }
}

// A function of the binding, in the form that Napi::Function::New accepts.
template <Napi::Value (*function)(const Napi::CallbackInfo&)>
Napi::Value guarded_function(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return function(info); });
}

}  // namespace rubricate::binding
