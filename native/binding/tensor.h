// NativeTensor and NativeTape of lib/binding/tensor.ts.
#pragma once

#include <vector>

#include "autograd/tape.h"
#include "binding/handle.h"

namespace rubricate::binding {

struct TensorState {
  std::shared_ptr<Environment> environment;
  Var var;
  ExternalBytes bytes;

  // The value's memory for writing. If a tape still holds the old value, new memory is allocated.
  const Tensor& writable();
};

struct TapeState {
  std::shared_ptr<Environment> environment;
  std::unique_ptr<Tape> tape;
  std::vector<std::shared_ptr<const void>> kept;  // arrays that the backward reads

  // Keeps an array until the backward has run or the tape is cleared; returns its first element.
  template <typename T>
  const T* keep(std::vector<T> values) {
    auto owned = std::make_shared<const std::vector<T>>(std::move(values));
    const T* data = owned->data();
    kept.push_back(std::move(owned));
    return data;
  }
};

class TensorHandle : public Handle<TensorHandle, TensorState> {
 public:
  static constexpr const char* kName = "a tensor";
  static constexpr napi_type_tag kTag = {0x04f7a1be3c925d68, 0xd19b83e06a5f24c7};
  static constexpr Napi::FunctionReference Environment::*kConstructor = &Environment::tensor;
  static Napi::Function define(Napi::Env env);
  explicit TensorHandle(const Napi::CallbackInfo& info);
  static Napi::Object wrap(Napi::Env env, Var var);
  static Napi::Value from(const Napi::CallbackInfo& info);  // Tensor.from

  Napi::Value shape(const Napi::CallbackInfo& info);
  Napi::Value dtype(const Napi::CallbackInfo& info);
  Napi::Value requires_grad(const Napi::CallbackInfo& info);
  Napi::Value data(const Napi::CallbackInfo& info);
  Napi::Value grad(const Napi::CallbackInfo& info);
  Napi::Value zero_grad(const Napi::CallbackInfo& info);
  Napi::Value set(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);
};

class TapeHandle : public Handle<TapeHandle, TapeState> {
 public:
  static constexpr const char* kName = "a tape";
  static constexpr napi_type_tag kTag = {0xb86d25f90e714ac3, 0x60f3d94c1ea7b852};
  static constexpr Napi::FunctionReference Environment::*kConstructor = &Environment::tape;
  static Napi::Function define(Napi::Env env);
  explicit TapeHandle(const Napi::CallbackInfo& info);

  Napi::Value backward(const Napi::CallbackInfo& info);
  Napi::Value clear(const Napi::CallbackInfo& info);
  Napi::Value recorded(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);
};

}  // namespace rubricate::binding
