// From C++ exceptions to JavaScript errors with a stable code.
#pragma once

#include <napi.h>

#include <string>

#include "base/error.h"

namespace rubricate::binding {

struct Failure {
  std::string code, message;
};

// What the exception being handled says; call it within a catch block. Anything that is no rubricate::Error, and not
// the end of memory, is ERR_INTERNAL.
Failure current_failure();

// `new errorClass(code, message)`, with the class that setErrors() was given; before that a plain Error with `code`.
Napi::Error make_error(Napi::Env env, const Failure& failure);

// `invalid(name, expected, received, code)`, the function of lib/errors.ts that setErrors() was given: it alone
// describes values. Before that an error without a description.
struct Expectation {
  const char *code, *name;
  std::string expected;
};
Napi::Error invalid_argument(Napi::Env env, const Expectation& wanted, const Napi::Value& received);

// Runs `body`, throwing what it throws as a JavaScript error. Every call from JavaScript goes through here.
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

// A function of the binding as Napi::Function::New takes it.
template <Napi::Value (*function)(const Napi::CallbackInfo&)>
Napi::Value guarded_function(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return function(info); });
}

}  // namespace rubricate::binding
