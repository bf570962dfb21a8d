// Losses and the optimizer's ops.
#include "binding/batches.h"
#include "binding/op_arguments.h"
#include "binding/ops.h"
#include "ops/adamw/adamw.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/elementwise/elementwise.h"
#include "optimizer/gradient_norm.h"

namespace rubricate::binding {
namespace {

Napi::Value head_cross_entropy_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  const Napi::Object given = object_argument(info[1], "arguments");
  const Var x = tensor_argument(given.Get("x"), "x");
  const Weight head = weight_argument(given.Get("head"), "head");
  std::vector<int32_t> rows = int32_argument(given.Get("rows"), "rows"),
                       targets = int32_argument(given.Get("targets"), "targets");
  std::vector<float> weights = float32_argument(given.Get("weights"), "weights");
  require(rows.size() == targets.size() && rows.size() == weights.size(), "ERR_ARGUMENT",
          "Expected as many targets and weights as rows (", rows.size(), ") but received ", targets.size(), " and ",
          weights.size());
  LossRows loss_rows;
  loss_rows.count = static_cast<int64_t>(rows.size());
  loss_rows.rows = tape->keep(std::move(rows));
  loss_rows.targets = tape->keep(std::move(targets));
  loss_rows.weights = tape->keep(std::move(weights));
  return TensorHandle::wrap(info.Env(), head_cross_entropy(*tape->tape, x, head, loss_rows).loss);
}

Napi::Value cross_entropy_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  const Var logits = tensor_argument(info[1], "logits");
  std::vector<int32_t> targets = int32_argument(info[2], "targets");
  require(static_cast<int64_t>(targets.size()) == logits.value().rows(), "ERR_ARGUMENT",
          "Expected one target for each of ", logits.value().rows(), " rows but received ", targets.size());
  return TensorHandle::wrap(info.Env(), cross_entropy(*tape->tape, logits, tape->keep(std::move(targets))));
}

Napi::Value mean_squared_error_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  const Var target = tensor_argument(info[2], "target");
  return TensorHandle::wrap(info.Env(), mean_squared_error(*tape->tape, tensor_argument(info[1], "a"), target.value()));
}

// A tensor that the optimizer writes; it must not be a value that a tape recorded.
const Tensor& written_argument(const Napi::Value& value, const char* name) {
  leaf_argument(value, name);
  return TensorHandle::argument(value, name)->writable();
}

Napi::Value adamw_step_op(const Napi::CallbackInfo& info) {
  const Napi::Object given = object_argument(info[0], "arguments");
  const int64_t step = integer_argument(given.Get("step"), "step", 1, int64_t{1} << 52);
  const AdamWOptions options = adamw_argument(object_argument(given.Get("options"), "options"));
  const float target = float_argument(given.Get("decayTarget"), "decayTarget"),
              scale = float_argument(given.Get("gradScale"), "gradScale");
  const Tensor grad = tensor_argument(given.Get("grad"), "grad").value();
  const Napi::Value own[] = {given.Get("parameter"), given.Get("m"), given.Get("v")};  // read all before any is written
  const Tensor& parameter = written_argument(own[0], "parameter");
  const Tensor& m = written_argument(own[1], "m");
  const Tensor& v = written_argument(own[2], "v");
  require(parameter.raw() != m.raw() && parameter.raw() != v.raw() && m.raw() != v.raw(), "ERR_ARGUMENT",
          "Expected three different tensors for parameter, m and v");
  adamw_step(parameter, grad, m, v, step, options, target, scale);
  return info.Env().Undefined();
}

Napi::Value gradient_norm_op(const Napi::CallbackInfo& info) {
  const Napi::Array array = array_argument(info[0], "grads");
  std::vector<Tensor> grads;
  for (uint32_t i = 0; i < array.Length(); ++i) grads.push_back(tensor_argument(array.Get(i), "grads").value());
  return Napi::Number::New(info.Env(), global_norm(grads));
}

}  // namespace

void define_losses_and_optimizer(Napi::Env env, Napi::Object ops) {
  set_op(env, ops, "headCrossEntropy", &guarded_function<&head_cross_entropy_op>);
  set_op(env, ops, "crossEntropy", &guarded_function<&cross_entropy_op>);
  set_op(env, ops, "meanSquaredError", &guarded_function<&mean_squared_error_op>);
  set_op(env, ops, "adamwStep", &guarded_function<&adamw_step_op>);
  set_op(env, ops, "gradientNorm", &guarded_function<&gradient_norm_op>);
}

Napi::Object make_ops(Napi::Env env) {
  Napi::Object ops = Napi::Object::New(env);
  define_layers(env, ops);
  define_elementwise(env, ops);
  define_losses_and_optimizer(env, ops);
  return ops;
}

}  // namespace rubricate::binding
