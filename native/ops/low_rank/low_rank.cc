#include "ops/low_rank/low_rank.h"

#include "ops/elementwise/elementwise.h"
#include "ops/linear/linear.h"
#include "ops/shared/checks.h"

namespace rubricate {
namespace {

// Adjacent rows of one slot that has an update.
struct Run {
  int64_t begin = 0, end = 0;
  int32_t slot = 0;
  int64_t rows() const { return end - begin; }
};

std::vector<Run> runs_of(const LowRankSlots& slots, const SequenceRows& rows) {
  std::vector<Run> runs;
  for_each_segment(rows, 0, rows.rows, [&](int64_t begin, int64_t end, int32_t slot) {
    if (slots.slots[static_cast<size_t>(slot)].a == nullptr) return;
    if (!runs.empty() && runs.back().slot == slot && runs.back().end == begin)
      runs.back().end = end;
    else
      runs.push_back({begin, end, slot});
  });
  return runs;
}

void check(const Tape& tape, const Tensor& y, const Tensor& x, const LowRankSlots& slots, const SequenceRows& rows) {
  tape.check_cancelled("low_rank");
  require_floating(x, "x");
  require_floating(y, "y");
  require_place(tape, x, "x");
  require_place(tape, y, "y");
  require(x.rank() == 2 && x.dim(1) == slots.inputs && x.dim(0) == rows.rows, "ERR_SHAPE", "Expected shape [",
          rows.rows, ", ", slots.inputs, "] for x but received ", shape_text(x.shape()));
  require(y.rank() == 2 && y.dim(1) == slots.outputs && y.dim(0) == rows.rows, "ERR_SHAPE", "Expected shape [",
          rows.rows, ", ", slots.outputs, "] for y but received ", shape_text(y.shape()));
  check_starts(rows.starts, rows.sequences, rows.rows, 0);
  check_slots(rows.slots, rows.sequences, static_cast<int64_t>(slots.slots.size()) - 1);
}

// A matrix of fp32 in rows, as an operand of a matmul.
struct Operand {
  const float* data;
  int64_t stride;
  bool transposed = false;  // A: stored [K, M]; B: stored [N, K], a weight's layout
};

Operand rows_of(const Tensor& matrix, const Run& run, bool transposed = false) {
  return {matrix.data<float>() + run.begin * matrix.cols(), matrix.cols(), transposed};
}

// c [m, n] = a b over k, or c += a b.
void product(const Tape& tape, const Operand& a, const Operand& b, float* c, int64_t m, int64_t n, int64_t k,
             bool accumulate) {
  MatmulArgs args;
  args.m = m;
  args.n = n;
  args.k = k;
  args.a = a.data;
  args.a_stride = a.stride;
  args.a_transposed = a.transposed;
  args.b = b.data;
  args.b_stride = b.stride;
  args.b_transposed = b.transposed;
  args.c = c;
  args.c_stride = n;
  args.accumulate = accumulate;
  matmul(tape, args);
}

Tensor as_f32(Tape& tape, const Tensor& tensor) { return cast(tape, tensor, DType::f32).value(); }

// Zeros that change no bits of what they are added to: -0 + x is x, also if x is -0.
Tensor neutral(Tape& tape, const Shape& shape) { return scale_by(tape, tape.zeros(shape, DType::f32), -1.0f).value(); }

// factor * (x A^T) of a run: [rows, rank].
Tensor projected(Tape& tape, const Tensor& x, const LowRankUpdate& own, const Run& run) {
  const Tensor u = tape.empty({run.rows(), own.rank}, DType::f32);
  product(tape, rows_of(x, run), {own.a, x.cols(), true}, u.data<float>(), run.rows(), own.rank, x.cols(), false);
  return scale_by(tape, u, own.factor).value();
}

bool trains(const Tape& tape, const LowRankSlots& slots) {
  bool wanted = false;
  for (const LowRankUpdate& own : slots.slots) wanted = tape.wants_grad({own.a_grad.get(), own.b_grad.get()}) || wanted;
  return wanted;
}

struct Saved {
  Tensor x;                       // in its own dtype
  std::vector<Tensor> projected;  // by run
  std::vector<Run> runs;
  LowRankSlots slots;
  std::shared_ptr<GradSlot> x_slot, y_slot;
};

// Adds to dA and dB, and returns dx; undefined if x needs none.
Tensor backward(Tape& tape, const Saved& saved, const Tensor& dy) {
  const int64_t inputs = saved.slots.inputs, outputs = saved.slots.outputs;
  const Tensor x = as_f32(tape, saved.x), grad = as_f32(tape, dy);
  const Tensor dx = saved.x_slot ? neutral(tape, saved.x.shape()) : Tensor();
  for (size_t i = 0; i < saved.runs.size(); ++i) {
    const Run& run = saved.runs[i];
    const LowRankUpdate& own = saved.slots.slots[static_cast<size_t>(run.slot)];
    if (own.b_grad)
      product(tape, rows_of(grad, run, true), {saved.projected[i].data<float>(), own.rank},
              tape.parameter_grad(own.b_grad).data<float>(), outputs, own.rank, run.rows(), true);
    if (!own.a_grad && !dx.defined()) continue;
    Tensor d = tape.empty({run.rows(), own.rank}, DType::f32);
    product(tape, rows_of(grad, run), {own.b, own.rank}, d.data<float>(), run.rows(), own.rank, outputs, false);
    d = scale_by(tape, d, own.factor).value();
    if (own.a_grad)
      product(tape, {d.data<float>(), own.rank, true}, rows_of(x, run), tape.parameter_grad(own.a_grad).data<float>(),
              own.rank, inputs, run.rows(), true);
    if (dx.defined())
      product(tape, {d.data<float>(), own.rank}, {own.a, inputs}, dx.data<float>() + run.begin * inputs, run.rows(),
              inputs, own.rank, false);
  }
  return dx;
}

}  // namespace

Var add_low_rank(Tape& tape, Var y, const Var& x, const LowRankSlots& slots, const SequenceRows& rows) {
  check(tape, y.value(), x.value(), slots, rows);
  std::vector<Run> runs = runs_of(slots, rows);
  if (runs.empty()) return y;
  const bool wanted = tape.wants_grad(y, x) || trains(tape, slots);
  const DType out = y.value().dtype();
  const auto y_slot = y.slot();
  Tensor sum =
      out == DType::f32 && !y.value().sole_owner() ? y.value().copied_to(tape.arena()) : as_f32(tape, y.value());
  y = {};
  const Tensor x32 = as_f32(tape, x.value());
  std::vector<Tensor> all;
  for (const Run& run : runs) {
    const LowRankUpdate& own = slots.slots[static_cast<size_t>(run.slot)];
    const Tensor v = projected(tape, x32, own, run);
    product(tape, {v.data<float>(), own.rank}, {own.b, own.rank, true}, sum.data<float>() + run.begin * slots.outputs,
            run.rows(), slots.outputs, own.rank, true);
    if (wanted) all.push_back(v);
  }
  sum = cast(tape, sum, out).value();
  if (!wanted) return sum;
  return tape.record("low_rank", std::move(sum),
                     [saved = Saved{x.value(), std::move(all), std::move(runs), slots, x.slot(), y_slot}](
                         Tape& tape, const Tensor& dy) {
                       const Tensor dx = backward(tape, saved, dy);
                       if (dx.defined()) tape.accumulate(saved.x_slot, cast(tape, dx, saved.x_slot->dtype).value());
                       tape.accumulate(saved.y_slot, dy);
                     });
}

}  // namespace rubricate
