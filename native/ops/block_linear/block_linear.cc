#include "ops/block_linear/block_linear.h"

#include "ops/linear/linear.h"
#include "ops/shared/checks.h"

namespace rubricate {
namespace {

struct Sizes {
  int64_t blocks, outputs, inputs;  // outputs and inputs of a block
};

// A part of a matrix of fp32: its first element, the elements between rows, whether it is read transposed.
struct Operand {
  const float* data;
  int64_t stride;
  bool transposed = false;
};

// c [m, n] = a b over k, or c += a b; rows of c are `stride` apart.
void product(const Tape& tape, const Operand& a, const Operand& b, float* c, int64_t stride, const Shape& mnk,
             bool accumulate) {
  MatmulArgs args;
  args.m = mnk[0];
  args.n = mnk[1];
  args.k = mnk[2];
  args.a = a.data;
  args.a_stride = a.stride;
  args.a_transposed = a.transposed;
  args.b = b.data;
  args.b_stride = b.stride;
  args.b_transposed = b.transposed;
  args.c = c;
  args.c_stride = stride;
  args.accumulate = accumulate;
  matmul(tape, args);
}

Sizes check(const Tape& tape, const Tensor& x, const Tensor& weight) {
  tape.check_cancelled("block_linear");
  require(x.dtype() == DType::f32 && weight.dtype() == DType::f32, "ERR_DTYPE",
          "Expected float32 for x and weight but received ", dtype_name(x.dtype()), " and ",
          dtype_name(weight.dtype()));
  require_place(tape, x, "x");
  require_place(tape, weight, "weight");
  require(weight.rank() == 3, "ERR_SHAPE", "Expected three sizes for weight but received shape ",
          shape_text(weight.shape()));
  const Sizes sizes{weight.dim(0), weight.dim(1), weight.dim(2)};
  require(x.rank() == 2 && x.dim(1) == sizes.blocks * sizes.inputs, "ERR_SHAPE", "Expected rows of ",
          sizes.blocks * sizes.inputs, " for x but received shape ", shape_text(x.shape()));
  return sizes;
}

}  // namespace

Var block_linear(Tape& tape, const Var& x, const Var& weight) {
  const auto [blocks, outputs, inputs] = check(tape, x.value(), weight.value());
  const bool wanted = tape.wants_grad(x, weight);
  const int64_t rows = x.value().dim(0), x_stride = blocks * inputs, y_stride = blocks * outputs;
  Tensor y = tape.empty({rows, y_stride}, DType::f32);
  for (int64_t b = 0; b < blocks; ++b)
    product(tape, {x.value().data<float>() + b * inputs, x_stride},
            {weight.value().data<float>() + b * outputs * inputs, inputs, true}, y.data<float>() + b * outputs,
            y_stride, {rows, outputs, inputs}, false);
  if (!wanted) return y;
  const Sizes sizes{blocks, outputs, inputs};
  return tape.record("block_linear", std::move(y), [x, weight, sizes](Tape& tape, const Tensor& dy) {
    const auto [blocks, outputs, inputs] = sizes;
    const int64_t rows = dy.dim(0), x_stride = blocks * inputs, y_stride = blocks * outputs;
    const Tensor dx = x.slot() ? tape.empty({rows, x_stride}, DType::f32) : Tensor();
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t first = b * outputs * inputs;
      const float* const grad = dy.data<float>() + b * outputs;
      if (weight.slot())
        product(tape, {grad, y_stride, true}, {x.value().data<float>() + b * inputs, x_stride},
                tape.parameter_grad(weight.slot()).data<float>() + first, inputs, {outputs, inputs, rows}, true);
      if (dx.defined())
        product(tape, {grad, y_stride}, {weight.value().data<float>() + first, inputs}, dx.data<float>() + b * inputs,
                x_stride, {rows, inputs, outputs}, false);
    }
    if (dx.defined()) tape.accumulate(x.slot(), dx);
  });
}

}  // namespace rubricate
