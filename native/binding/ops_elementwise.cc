// Elementwise ops, and the sum of all elements.
#include "binding/op_arguments.h"
#include "binding/ops.h"
#include "ops/elementwise/elementwise.h"

namespace rubricate::binding {
namespace {

Napi::Value add_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  return TensorHandle::wrap(info.Env(), add(*tape->tape, tensor_argument(info[1], "a"), tensor_argument(info[2], "b")));
}

Napi::Value multiply_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  return TensorHandle::wrap(info.Env(),
                            multiply(*tape->tape, tensor_argument(info[1], "a"), tensor_argument(info[2], "b")));
}

Napi::Value scale_by_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  return TensorHandle::wrap(info.Env(),
                            scale_by(*tape->tape, tensor_argument(info[1], "a"), float_argument(info[2], "factor")));
}

Napi::Value silu_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  return TensorHandle::wrap(info.Env(), silu(*tape->tape, tensor_argument(info[1], "a")));
}

Napi::Value sum_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  return TensorHandle::wrap(info.Env(), sum(*tape->tape, tensor_argument(info[1], "a")));
}

Napi::Value cast_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  return TensorHandle::wrap(info.Env(),
                            cast(*tape->tape, tensor_argument(info[1], "a"), dtype_argument(info[2], "dtype")));
}

}  // namespace

void define_elementwise(Napi::Env env, Napi::Object ops) {
  set_op(env, ops, "add", &guarded_function<&add_op>);
  set_op(env, ops, "multiply", &guarded_function<&multiply_op>);
  set_op(env, ops, "scaleBy", &guarded_function<&scale_by_op>);
  set_op(env, ops, "silu", &guarded_function<&silu_op>);
  set_op(env, ops, "sum", &guarded_function<&sum_op>);
  set_op(env, ops, "cast", &guarded_function<&cast_op>);
}

}  // namespace rubricate::binding
