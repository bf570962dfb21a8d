#include "ops/elementwise/elementwise.h"

#include <vector>

#include "ops/elementwise/elementwise_kernels.h"
#include "ops/shared/checks.h"
#include "ops/shared/launch.h"

namespace rubricate {
namespace {

// args.end: the number of elements.
void run(Stream* stream, const ElementwiseArgs& args) {
  launch_ranges(stream, "elementwise/1", elementwise_cpu, args, kElementGrain);
}

// out = op(a, b), like `a`; `b` may be undefined.
Tensor apply(Tape& tape, Elementwise op, const Tensor& a, const Tensor& b, float factor = 0.0f) {
  Tensor out = tape.empty(a.shape(), a.dtype());
  run(tape.stream(),
      {.op = op, .dtype = a.dtype(), .a = a.raw(), .b = b.raw(), .out = out.raw(), .factor = factor, .end = a.count()});
  return out;
}

// The same with the factor scalar * multiplier, where `scalar` is an fp32 tensor on the tape's device.
Tensor apply_scalar(Tape& tape, Elementwise op, const Shape& shape, DType dtype, const Tensor& a, const Tensor& b,
                    const Tensor& scalar, double multiplier) {
  Tensor out = tape.empty(shape, dtype);
  ElementwiseArgs args{.op = op, .dtype = dtype, .a = a.raw(), .b = b.raw(), .out = out.raw(), .end = out.count()};
  if (tape.stream() != nullptr) {
    args.multiplicand = scalar.data<float>();
    args.multiplier = multiplier;
  } else {
    args.factor = static_cast<float>(static_cast<double>(*scalar.data<float>()) * multiplier);
  }
  run(tape.stream(), args);
  return out;
}

void check_pair(const Tape& tape, const Tensor& a, const Tensor& b, const char* name) {
  tape.check_cancelled("elementwise");
  require_floating(a, "a");
  require_like(b, a, name);
  require_place(tape, a, "a");
  require_place(tape, b, name);
}

void check_one(const Tape& tape, const Tensor& a) {
  tape.check_cancelled("elementwise");
  require_floating(a, "a");
}

// The sum of a, or of (a - b)^2 if b is defined, divided by `divisor`: fp32 [1]. Sums each row of the last axis, then
// adds these in order; in double, since there may be many rows.
Tensor folded_rows(Tape& tape, const Tensor& a, const Tensor& b, double divisor) {
  const Tensor sums = tape.empty({a.rows()}, DType::f32), out = tape.empty({1}, DType::f32);
  launch_rows(tape.stream(), "row_sum/1", row_sum_cpu,
              RowSumArgs{.dtype = a.dtype(),
                         .a = a.raw(),
                         .b = b.raw(),
                         .out = sums.data<float>(),
                         .cols = a.cols(),
                         .end = a.rows()});
  if (Stream* stream = tape.stream()) {
    stream->run(
        "fold/1",
        FoldArgs{.values = sums.data<float>(), .count = a.rows(), .divisor = divisor, .out = out.data<float>()});
    return out;
  }
  double total = 0.0;
  for (int64_t row = 0; row < a.rows(); ++row) total += static_cast<double>(sums.data<float>()[row]);
  *out.data<float>() = static_cast<float>(total / divisor);
  return out;
}

// f(a), with a gradient that is `backward` of a and the output's.
Var activated(Tape& tape, const char* name, Elementwise forward, Elementwise backward, const Var& a) {
  check_one(tape, a.value());
  const bool wanted = tape.wants_grad(a);
  Tensor out = apply(tape, forward, a.value(), {});
  if (!wanted) return out;
  return tape.record(name, std::move(out),
                     [saved = a.value(), slot = a.slot(), backward](Tape& tape, const Tensor& grad) {
                       tape.accumulate(slot, apply(tape, backward, saved, grad));
                     });
}

Tensor converted(Tape& tape, const Tensor& a, DType dtype) {
  Tensor out = tape.empty(a.shape(), dtype);
  launch_ranges(tape.stream(), "cast/1", cast_cpu,
                CastArgs{.a = a.raw(), .from = a.dtype(), .out = out.raw(), .to = dtype, .end = a.count()},
                kElementGrain);
  return out;
}

}  // namespace

Var add(Tape& tape, const Var& a, const Var& b) {
  check_pair(tape, a.value(), b.value(), "b");
  const bool wanted = tape.wants_grad(a, b);
  Tensor out = apply(tape, Elementwise::add, a.value(), b.value());
  if (!wanted) return out;
  return tape.record("add", std::move(out), [a_slot = a.slot(), b_slot = b.slot()](Tape& tape, const Tensor& grad) {
    tape.accumulate(a_slot, grad);
    tape.accumulate(b_slot, grad);
  });
}

Var multiply(Tape& tape, const Var& a, const Var& b) {
  check_pair(tape, a.value(), b.value(), "b");
  const bool wanted = tape.wants_grad(a, b);
  Tensor out = apply(tape, Elementwise::multiply, a.value(), b.value());
  if (!wanted) return out;
  const Tensor saved_a = b.requires_grad() ? a.value() : Tensor();
  const Tensor saved_b = a.requires_grad() ? b.value() : Tensor();
  return tape.record("multiply", std::move(out),
                     [saved_a, saved_b, a_slot = a.slot(), b_slot = b.slot()](Tape& tape, const Tensor& grad) {
                       if (a_slot) tape.accumulate(a_slot, apply(tape, Elementwise::multiply, grad, saved_b));
                       if (b_slot) tape.accumulate(b_slot, apply(tape, Elementwise::multiply, grad, saved_a));
                     });
}

Var scale_by(Tape& tape, const Var& a, float factor) {
  check_one(tape, a.value());
  const bool wanted = tape.wants_grad(a);
  Tensor out = apply(tape, Elementwise::scale, a.value(), {}, factor);
  if (!wanted) return out;
  return tape.record("scale_by", std::move(out), [factor, slot = a.slot()](Tape& tape, const Tensor& grad) {
    tape.accumulate(slot, apply(tape, Elementwise::scale, grad, {}, factor));
  });
}

Var silu(Tape& tape, const Var& a) { return activated(tape, "silu", Elementwise::silu, Elementwise::silu_backward, a); }

Var relu(Tape& tape, const Var& a) { return activated(tape, "relu", Elementwise::relu, Elementwise::relu_backward, a); }

Var tanh(Tape& tape, const Var& a) { return activated(tape, "tanh", Elementwise::tanh, Elementwise::tanh_backward, a); }

Var sum(Tape& tape, const Var& a) {
  check_one(tape, a.value());
  const bool wanted = tape.wants_grad(a);
  Tensor out = folded_rows(tape, a.value(), {}, 1.0);
  if (!wanted) return out;
  return tape.record(
      "sum", std::move(out),
      [shape = a.value().shape(), dtype = a.value().dtype(), slot = a.slot()](Tape& tape, const Tensor& grad) {
        tape.accumulate(slot, apply_scalar(tape, Elementwise::fill, shape, dtype, {}, {}, grad, 1.0));
      });
}

// l = sum (a - t)^2 / n;  da = 2 (a - t) / n
Var mean_squared_error(Tape& tape, const Var& a, const Tensor& target) {
  check_pair(tape, a.value(), target, "target");
  require(a.value().count() > 0, "ERR_SHAPE", "Expected at least one element for a but received shape ",
          shape_text(a.value().shape()));
  const bool wanted = tape.wants_grad(a);
  const double count = static_cast<double>(a.value().count());
  Tensor out = folded_rows(tape, a.value(), target, count);
  if (!wanted) return out;
  return tape.record("mean_squared_error", std::move(out),
                     [saved = a.value(), target, count, slot = a.slot()](Tape& tape, const Tensor& grad) {
                       tape.accumulate(slot, apply_scalar(tape, Elementwise::difference, saved.shape(), saved.dtype(),
                                                          saved, target, grad, 2.0 / count));
                     });
}

Var cast(Tape& tape, const Var& a, DType dtype) {
  check_one(tape, a.value());
  require(dtype == DType::f32 || dtype == DType::bf16, "ERR_DTYPE",
          "Expected float32 or bfloat16 for dtype but received ", dtype_name(dtype));
  const bool wanted = tape.wants_grad(a);
  if (dtype == a.value().dtype()) return a;
  Tensor out = converted(tape, a.value(), dtype);
  if (!wanted) return out;
  return tape.record("cast", std::move(out),
                     [from = a.value().dtype(), slot = a.slot()](Tape& tape, const Tensor& grad) {
                       tape.accumulate(slot, converted(tape, grad, from));
                     });
}

}  // namespace rubricate
