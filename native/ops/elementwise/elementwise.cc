#include "ops/elementwise/elementwise.h"

#include <vector>

#include "device/cpu/thread_pool.h"
#include "ops/checks.h"
#include "ops/elementwise/elementwise_cpu.h"

namespace rubricate {
namespace {

void run(const ElementwiseArgs& args, int64_t count) {
  parallel_ranges(count, kElementGrain, [&args](int64_t begin, int64_t end) {
    ElementwiseArgs range = args;  // one for each range: ranges run at the same time
    range.begin = begin;
    range.end = end;
    elementwise_cpu(range);
  });
}

// out = op(a, b), like `a`; `b` may be undefined.
Tensor apply(Tape& tape, Elementwise op, const Tensor& a, const Tensor& b, float factor = 0.0f) {
  Tensor out = tape.empty(a.shape(), a.dtype());
  run({op, a.dtype(), a.raw(), b.raw(), out.raw(), factor, 0, 0}, a.count());
  return out;
}

void check_pair(const Tape& tape, const Tensor& a, const Tensor& b, const char* name) {
  tape.check_cancelled("elementwise");
  require_floating(a, "a");
  require_like(b, a, name);
}

void check_one(const Tape& tape, const Tensor& a) {
  tape.check_cancelled("elementwise");
  require_floating(a, "a");
}

// Sums of the rows of the last axis, folded in order; the fold is in double, since there may be many rows.
double folded_rows(const Tensor& a, const void* b) {
  std::vector<float> sums(static_cast<size_t>(a.rows()));
  const RowSumArgs all{a.dtype(), a.raw(), b, sums.data(), a.cols(), 0, 0};
  parallel_ranges(a.rows(), row_grain(a.cols()), [&](int64_t begin, int64_t end) {
    RowSumArgs args = all;
    args.begin = begin;
    args.end = end;
    row_sum_cpu(args);
  });
  double total = 0.0;
  for (const float x : sums) total += static_cast<double>(x);
  return total;
}

Tensor scalar(Tape& tape, double value) {
  Tensor out = tape.empty({1}, DType::f32);
  *out.data<float>() = static_cast<float>(value);
  return out;
}

Tensor converted(Tape& tape, const Tensor& a, DType dtype) {
  Tensor out = tape.empty(a.shape(), dtype);
  const CastArgs all{a.raw(), a.dtype(), out.raw(), dtype, 0, 0};
  parallel_ranges(a.count(), kElementGrain, [&](int64_t begin, int64_t end) {
    CastArgs args = all;
    args.begin = begin;
    args.end = end;
    cast_cpu(args);
  });
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

Var silu(Tape& tape, const Var& a) {
  check_one(tape, a.value());
  const bool wanted = tape.wants_grad(a);
  Tensor out = apply(tape, Elementwise::silu, a.value(), {});
  if (!wanted) return out;
  return tape.record("silu", std::move(out), [saved = a.value(), slot = a.slot()](Tape& tape, const Tensor& grad) {
    tape.accumulate(slot, apply(tape, Elementwise::silu_backward, saved, grad));
  });
}

Var sum(Tape& tape, const Var& a) {
  check_one(tape, a.value());
  const bool wanted = tape.wants_grad(a);
  Tensor out = scalar(tape, folded_rows(a.value(), nullptr));
  if (!wanted) return out;
  return tape.record(
      "sum", std::move(out),
      [shape = a.value().shape(), dtype = a.value().dtype(), slot = a.slot()](Tape& tape, const Tensor& grad) {
        Tensor da = tape.empty(shape, dtype);
        run({Elementwise::fill, dtype, nullptr, nullptr, da.raw(), *grad.data<float>(), 0, 0}, da.count());
        tape.accumulate(slot, std::move(da));
      });
}

// l = sum (a - t)^2 / n;  da = 2 (a - t) / n
Var mean_squared_error(Tape& tape, const Var& a, const Tensor& target) {
  check_pair(tape, a.value(), target, "target");
  require(a.value().count() > 0, "ERR_SHAPE", "Expected at least one element for a but received shape ",
          shape_text(a.value().shape()));
  const bool wanted = tape.wants_grad(a);
  const double count = static_cast<double>(a.value().count());
  Tensor out = scalar(tape, folded_rows(a.value(), target.raw()) / count);
  if (!wanted) return out;
  return tape.record("mean_squared_error", std::move(out),
                     [saved = a.value(), target, count, slot = a.slot()](Tape& tape, const Tensor& grad) {
                       const double factor = 2.0 * static_cast<double>(*grad.data<float>()) / count;
                       tape.accumulate(slot,
                                       apply(tape, Elementwise::difference, saved, target, static_cast<float>(factor)));
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

void add_in_place_cpu(const Tensor& destination, const Tensor& source) {
  require_floating(destination, "destination");
  require_like(source, destination, "source");
  run({Elementwise::add, destination.dtype(), destination.raw(), source.raw(), destination.raw(), 0.0f, 0, 0},
      destination.count());
}

}  // namespace rubricate
