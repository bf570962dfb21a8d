#include "ops/linear/linear.h"

#include "device/stream.h"
#include "ops/elementwise/elementwise.h"
#include "ops/linear/linear_cpu.h"
#include "ops/linear/matmul_plan.h"
#include "ops/shared/checks.h"

namespace rubricate {
namespace {

void check_floating(DType dtype, const char* name) {
  require(dtype == DType::f32 || dtype == DType::bf16, "ERR_DTYPE", "Expected float32 or bfloat16 for ", name,
          " but received ", dtype_name(dtype));
}

void check(const Tensor& x, const Weight& weight, const Var& bias, DType out) {
  require(weight.defined(), "ERR_ARGUMENT", "Expected a weight for linear but received none");
  check_floating(x.dtype(), "x");
  check_floating(out, "the output of linear");
  require(weight.view.dtype != DType::i32, "ERR_DTYPE",
          "Expected float32, bfloat16 or float16 for weight but received int32");
  require(x.rank() == 2 && x.dim(1) == weight.view.cols, "ERR_SHAPE", "Expected shape [rows, ", weight.view.cols,
          "] for x but received ", shape_text(x.shape()));
  if (!bias.defined()) return;
  require(bias.value().dtype() == DType::f32, "ERR_DTYPE", "Expected float32 for bias but received ",
          dtype_name(bias.value().dtype()));
  require(bias.value().shape() == Shape{weight.view.rows}, "ERR_SHAPE", "Expected shape [", weight.view.rows,
          "] for bias but received ", shape_text(bias.value().shape()));
}

MatmulArgs left_operand(const Tensor& a) {
  MatmulArgs args;
  args.a = a.raw();
  args.a_dtype = a.dtype();
  args.a_stride = a.dim(1);
  return args;
}

void set_weight(MatmulArgs& args, const WeightView& view) {
  args.b = view.data;
  args.b_dtype = view.dtype;
  args.b_stride = view.row_stride;
}

void set_result(MatmulArgs& args, const Tensor& c) {
  args.m = c.dim(0);
  args.n = c.dim(1);
  args.c = c.raw();
  args.c_dtype = c.dtype();
  args.c_stride = c.dim(1);
}

MatmulArgs forward(const Tensor& x, const WeightView& view, const Var& bias, const Tensor& y) {
  MatmulArgs args = left_operand(x);
  set_weight(args, view);
  set_result(args, y);
  args.b_transposed = true;
  args.k = view.cols;
  if (bias.defined()) args.bias = bias.value().data<float>();
  return args;
}

void backward_input(const Tape& tape, const Tensor& dy, const WeightView& view, const Tensor& dx) {
  MatmulArgs args = left_operand(dy);
  set_weight(args, view);
  set_result(args, dx);
  args.k = view.rows;
  matmul(tape, args);
}

void backward_weight(const Tape& tape, const Tensor& dy, const Tensor& x, const Tensor& dw) {
  MatmulArgs args = left_operand(dy);
  args.a_transposed = true;
  args.b = x.raw();
  args.b_dtype = x.dtype();
  args.b_stride = x.dim(1);
  set_result(args, dw);
  args.k = x.dim(0);
  args.accumulate = true;
  matmul(tape, args);
}

void column_sum(const Tape& tape, const ColumnSumArgs& args) {
  if (Stream* stream = tape.stream()) return stream->run("column_sum/1", args);
  column_sum_cpu(args);
}

Var recorded(Tape& tape, const Var& x, const Weight& weight, const Var& bias, Tensor y) {
  if (!tape.wants_grad({x.slot().get(), weight.gradient.get(), bias.slot().get()})) return y;
  const auto x_slot = x.slot();
  const Tensor saved_x = weight.gradient ? x.value() : Tensor();
  const Weight saved_weight = x_slot ? weight : Weight{{}, {}, weight.gradient};
  const Shape x_shape = x.value().shape();
  return tape.record(
      "linear", std::move(y),
      [x_slot, x_shape, x_dtype = x.value().dtype(), saved_x, saved_weight, bias_slot = bias.slot()](Tape& tape,
                                                                                                     const Tensor& dy) {
        const Tensor factor = x_dtype == DType::bf16 ? cast(tape, dy, x_dtype).value() : dy;
        if (x_slot) {
          Tensor dx = tape.empty(x_shape, x_slot->dtype);
          backward_input(tape, factor, saved_weight.view, dx);
          tape.accumulate(x_slot, std::move(dx));
        }
        if (saved_weight.gradient) backward_weight(tape, factor, saved_x, tape.parameter_grad(saved_weight.gradient));
        if (bias_slot)
          column_sum(tape, {dy.raw(), dy.dtype(), dy.dim(0), dy.dim(1), tape.parameter_grad(bias_slot).data<float>()});
      });
}

}  // namespace

void matmul(const Tape& tape, const MatmulArgs& args) {
  Stream* const stream = tape.stream();
  if (stream == nullptr)
    return tape.wanted() ? matmul_in_ranges(args, range_columns(args), [&] { tape.yield(); }) : matmul_cpu(args);
  MatmulArgs planned = MatmulPlans::of(stream->device()).planned(*stream, args);
  Tensor workspace;  // may be freed once the matmul is queued: later uses of its memory are queued behind it
  if (planned.algorithm.workspace_bytes > 0) {
    workspace = Tensor::empty(tape.arena(), {(planned.algorithm.workspace_bytes + 3) / 4}, DType::i32);
    planned.workspace = workspace.raw();
  }
  stream->run("matmul/2", planned);
}

std::vector<Var> linears(Tape& tape, const Var& x, const std::vector<Linear>& layers) {
  tape.check_cancelled("linear");
  require(x.defined(), "ERR_ARGUMENT", "Expected a value for x but received none");
  require_place(tape, x.value(), "x");
  std::vector<Tensor> results;
  std::vector<MatmulArgs> products;
  for (const Linear& layer : layers) {
    check(x.value(), layer.weight, layer.bias, layer.out);
    require_place(tape, layer.weight.storage, "weight");
    if (layer.bias.defined()) require_place(tape, layer.bias.value(), "bias");
    tape.wants_grad({x.slot().get(), layer.weight.gradient.get(), layer.bias.slot().get()});  // throws if foreign
    results.push_back(tape.empty({x.value().dim(0), layer.weight.view.rows}, layer.out));
    products.push_back(forward(x.value(), layer.weight.view, layer.bias, results.back()));
  }
  if (tape.stream() == nullptr && !tape.wanted())
    matmuls_cpu(products);
  else
    for (const MatmulArgs& product : products) matmul(tape, product);
  std::vector<Var> vars;
  for (size_t i = 0; i < layers.size(); ++i)
    vars.push_back(recorded(tape, x, layers[i].weight, layers[i].bias, std::move(results[i])));
  return vars;
}

Var linear(Tape& tape, const Var& x, const Weight& weight, const Var& bias, DType out) {
  return std::move(linears(tape, x, {{weight, bias, out}}).front());
}

}  // namespace rubricate
