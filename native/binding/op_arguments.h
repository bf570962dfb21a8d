// Arguments that several ops have in common.
#pragma once

#include <string>
#include <vector>

#include "autograd/weight.h"
#include "binding/tensor.h"
#include "ops/red_edit/red_edit.h"

namespace rubricate::binding {

// The tape of a call. The shared pointer keeps it alive: JavaScript may dispose of the handle during the call.
inline std::shared_ptr<TapeState> tape_argument(const Napi::Value& value) {
  return TapeHandle::argument(value, "tape");
}

inline Var tensor_argument(const Napi::Value& value, const char* name) {
  return TensorHandle::argument(value, name)->var;
}

// A weight, scale, bias or norm. Ops add to its gradient in place, so it must be a leaf.
inline Var leaf_argument(const Napi::Value& value, const char* name) {
  Var var = tensor_argument(value, name);
  require(!var.requires_grad() || var.slot()->tape == 0, "ERR_ARGUMENT", "Expected a parameter or a constant for ",
          name, " but received a value that a tape recorded");
  return var;
}

inline Var leaf_or_none_argument(const Napi::Value& value, const char* name) {
  return is_missing(value) ? Var() : leaf_argument(value, name);
}

// A matrix as a weight, with its gradient slot. Throws ERR_SHAPE, ERR_DTYPE.
inline Weight weight_argument(const Napi::Value& value, const char* name) {
  const Var var = leaf_argument(value, name);
  Weight weight = Weight::of(var.value());
  weight.gradient = var.slot();
  return weight;
}

// int32 [sequences + 1], for `rows` rows. Ops accept empty sequences; calls from JavaScript may not contain any.
inline std::vector<int32_t> starts_argument(const Napi::Value& value, int64_t rows) {
  std::vector<int32_t> starts = int32_argument(value, "starts");
  check_starts(starts.data(), static_cast<int64_t>(starts.size()) - 1, rows, 1);
  return starts;
}

inline void set_op(Napi::Env env, Napi::Object ops, const char* name,
                   Napi::Value (*function)(const Napi::CallbackInfo&)) {
  ops.Set(name, Napi::Function::New(env, function, name));
}

}  // namespace rubricate::binding
