#include "binding/batches.h"
#include "binding/op_arguments.h"
#include "binding/ops.h"
#include "ops/adamw/adamw.h"
#include "ops/elementwise/elementwise.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/linear/linear.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/swiglu/swiglu.h"
#include "optimizer/gradient_norm.h"

namespace rubricate::binding {
namespace {

Napi::Value linear_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  const Var x = tensor_argument(info[1], "x");
  const Weight weight = weight_argument(info[2], "weight");
  const Var bias = leaf_or_none_argument(info[3], "bias");
  return TensorHandle::wrap(info.Env(), linear(*tape->tape, x, weight, bias, x.value().dtype()));
}

Napi::Value rms_norm_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  const Var x = tensor_argument(info[1], "x"), weight = leaf_argument(info[2], "weight");
  return TensorHandle::wrap(info.Env(), rms_norm(*tape->tape, x, weight, float_argument(info[3], "epsilon")));
}

// One weight and bias for all rows: slot 1 of a batch of one sequence.
Napi::Value layer_norm_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  const Var x = tensor_argument(info[1], "x");
  EditSlots slots;
  slots.slots.resize(2);
  slots.slots[1] = {leaf_argument(info[2], "weight"), leaf_argument(info[3], "bias")};
  const int64_t rows = x.value().rows();
  require(rows <= INT32_MAX, "ERR_SHAPE", "Expected fewer than 2^31 rows for x but received ", rows);
  const SequenceRows sequence = {rows, 1, tape->keep(std::vector<int32_t>{0, static_cast<int32_t>(rows)}),
                                 tape->keep(std::vector<int32_t>{1})};
  return TensorHandle::wrap(info.Env(),
                            layer_norm(*tape->tape, x, slots, sequence, float_argument(info[4], "epsilon")));
}

Napi::Value swiglu_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  return TensorHandle::wrap(info.Env(),
                            swiglu(*tape->tape, tensor_argument(info[1], "gate"), tensor_argument(info[2], "up")));
}

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

Napi::Value mean_squared_error_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  const Var target = tensor_argument(info[2], "target");
  return TensorHandle::wrap(info.Env(), mean_squared_error(*tape->tape, tensor_argument(info[1], "a"), target.value()));
}

Napi::Value cast_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  return TensorHandle::wrap(info.Env(),
                            cast(*tape->tape, tensor_argument(info[1], "a"), dtype_argument(info[2], "dtype")));
}

// Something that the optimizer writes: no value that a tape made.
const Tensor& written_argument(const Napi::Value& value, const char* name) {
  leaf_argument(value, name);
  return TensorHandle::argument(value, name)->writable();
}

Napi::Value adamw_step_op(const Napi::CallbackInfo& info) {
  const int64_t step = integer_argument(info[4], "step", 1, int64_t{1} << 52);
  const AdamWOptions options = adamw_argument(object_argument(info[5], "options"));
  const float target = float_argument(info[6], "decayTarget"), scale = float_argument(info[7], "gradScale");
  const Tensor grad = tensor_argument(info[1], "grad").value();
  const Tensor& parameter = written_argument(info[0], "parameter");
  const Tensor& m = written_argument(info[2], "m");
  const Tensor& v = written_argument(info[3], "v");
  require(parameter.raw() != m.raw() && parameter.raw() != v.raw() && m.raw() != v.raw(), "ERR_ARGUMENT",
          "Expected three different tensors for parameter, m and v");
  adamw_step(parameter, grad, m, v, step, options, target, scale);
  return info.Env().Undefined();
}

Napi::Value gradient_norm_op(const Napi::CallbackInfo& info) {
  const Napi::Array array = array_argument(info[0], "grads");
  std::vector<Tensor> grads;
  for (uint32_t i = 0; i < array.Length(); ++i) grads.push_back(tensor_argument(array.Get(i), "grads").value());
  return Napi::Number::New(info.Env(), gradient_norm(grads));
}

}  // namespace

void define_dense_ops(Napi::Env env, Napi::Object ops) {
  set_op(env, ops, "linear", &guarded_function<&linear_op>);
  set_op(env, ops, "rmsNorm", &guarded_function<&rms_norm_op>);
  set_op(env, ops, "layerNorm", &guarded_function<&layer_norm_op>);
  set_op(env, ops, "swiglu", &guarded_function<&swiglu_op>);
  set_op(env, ops, "add", &guarded_function<&add_op>);
  set_op(env, ops, "multiply", &guarded_function<&multiply_op>);
  set_op(env, ops, "scaleBy", &guarded_function<&scale_by_op>);
  set_op(env, ops, "silu", &guarded_function<&silu_op>);
  set_op(env, ops, "sum", &guarded_function<&sum_op>);
  set_op(env, ops, "meanSquaredError", &guarded_function<&mean_squared_error_op>);
  set_op(env, ops, "cast", &guarded_function<&cast_op>);
  set_op(env, ops, "adamwStep", &guarded_function<&adamw_step_op>);
  set_op(env, ops, "gradientNorm", &guarded_function<&gradient_norm_op>);
}

Napi::Object make_ops(Napi::Env env) {
  Napi::Object ops = Napi::Object::New(env);
  define_row_ops(env, ops);
  define_dense_ops(env, ops);
  return ops;
}

}  // namespace rubricate::binding
