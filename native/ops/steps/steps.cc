#include "ops/steps/steps.h"

#include "ops/block_linear/block_linear.h"
#include "ops/elementwise/elementwise.h"
#include "ops/elementwise/elementwise_kernels.h"
#include "ops/gelu/gelu.h"
#include "ops/linear/linear.h"
#include "ops/red_edit/red_edit.h"
#include "ops/shared/checks.h"
#include "ops/shared/launch.h"

namespace rubricate {
namespace {

// Adjacent rows of one slot that has steps, with their sequences: rows [begin, begin + starts.back()).
struct Run {
  int64_t begin = 0;
  int32_t slot = 0;
  std::vector<int32_t> starts = {0};  // of its sequences, from 0, then its number of rows
  std::vector<int32_t> slots;         // of its sequences: 1 each
  int64_t rows() const { return starts.back(); }
  SequenceRows view() const {
    return {rows(), static_cast<int64_t>(slots.size()), starts.data(), slots.data(), nullptr};
  }
};

std::vector<Run> runs_of(const SlotSteps& slots, const SequenceRows& rows) {
  std::vector<Run> runs;
  for_each_segment(rows, 0, rows.rows, [&](int64_t begin, int64_t end, int32_t slot) {
    if (!slots.slots[static_cast<size_t>(slot)]) return;
    if (runs.empty() || runs.back().slot != slot || runs.back().begin + runs.back().rows() != begin) {
      runs.emplace_back();
      runs.back().begin = begin;
      runs.back().slot = slot;
    }
    Run& run = runs.back();
    run.starts.push_back(static_cast<int32_t>(end - run.begin));
    run.slots.push_back(1);
  });
  return runs;
}

void check(const Tape& tape, const Tensor& x, const char* name, const SlotSteps& slots, const SequenceRows& rows) {
  tape.check_cancelled("steps");
  require_floating(x, name);
  require_place(tape, x, name);
  require(x.rank() == 2 && x.dim(0) == rows.rows, "ERR_SHAPE", "Expected ", rows.rows, " rows for ", name,
          " but received shape ", shape_text(x.shape()));
  check_starts(rows.starts, rows.sequences, rows.rows, 0);
  check_slots(rows.slots, rows.sequences, static_cast<int64_t>(slots.slots.size()) - 1);
}

// A run's rows of a matrix, in the matrix's memory.
Tensor rows_of(const Tensor& matrix, const Run& run) {
  return matrix.part(run.begin * matrix.cols(), {run.rows(), matrix.cols()});
}

// The same in fp32. On a device an op may need 16 aligned bytes, where a row need not begin.
Tensor widened(Tape& tape, const Tensor& matrix, const Run& run) {
  Tensor rows = rows_of(matrix, run);
  if (rows.dtype() != DType::f32) return cast(tape, rows, DType::f32).value();
  if (tape.stream() == nullptr || run.begin * matrix.cols() % 4 == 0) return rows;
  return scale_by(tape, rows, 1.0f).value();
}

// to = from, or to = from + addend: in the memory of `to`, rounded once to its dtype. from, addend: fp32.
void write(Tape& tape, const Tensor& to, Tensor from, const Tensor& addend = {}) {
  if (to.dtype() != DType::f32) {
    if (addend.defined()) from = add(tape, from, addend).value();
    launch_ranges(tape.stream(), "cast/1", cast_cpu,
                  CastArgs{.a = from.raw(), .from = DType::f32, .out = to.raw(), .to = to.dtype(), .end = to.count()},
                  kElementGrain);
    return;
  }
  const Elementwise op = addend.defined() ? Elementwise::add : Elementwise::scale;
  launch_ranges(tape.stream(), "elementwise/1", elementwise_cpu,
                ElementwiseArgs{.op = op,
                                .dtype = DType::f32,
                                .a = from.raw(),
                                .b = addend.raw(),
                                .out = to.raw(),
                                .factor = 1.0f,
                                .end = to.count()},
                kElementGrain);
}

Var activated(Tape& tape, const Var& v, Activation activation) {
  switch (activation) {
    case Activation::gelu:
      return gelu(tape, v, GeluKind::exact);
    case Activation::gelu_tanh:
      return gelu(tape, v, GeluKind::tanh);
    case Activation::silu:
      return silu(tape, v);
    case Activation::relu:
      return relu(tape, v);
    case Activation::tanh:
      return tanh(tape, v);
  }
  fail("ERR_INTERNAL", "No such activation");
}

// What mix_initial mixes in, for a run's rows.
Tensor initial_rows(Tape& tape, const Tensor& initial, const Run& run, int64_t width) {
  require(initial.defined() && initial.cols() == width, "ERR_SHAPE", "Expected the embedding's output of ", width,
          " columns for mix_initial but received ", initial.defined() ? shape_text(initial.shape()) : "none");
  return widened(tape, initial, run);
}

// All steps. trains: whether parameters get their gradients on this tape.
Var run_steps(Tape& tape, const SiteSteps& steps, const Var& x, const Run& run, const Tensor& initial, bool trains) {
  const auto own = [&](const Var& var) { return trains || !var.defined() ? var : Var(var.value()); };
  Var v = x;
  for (const SiteStep& step : steps) switch (step.kind) {
      case StepKind::linear: {
        Weight weight = Weight::of(step.weight.value());
        if (trains) weight.gradient = step.weight.slot();
        v = linear(tape, v, weight, {}, DType::f32);
        break;
      }
      case StepKind::block_linear:
        v = block_linear(tape, v, own(step.weight));
        break;
      case StepKind::scale:
        v = scale_by(tape, v, step.by);
        break;
      case StepKind::affine:
        v = red_edit(tape, v, SlotVectors{{{}, {own(step.scale), own(step.bias)}}}, run.view());
        break;
      case StepKind::residual:
        v = add(tape, v, x);
        break;
      case StepKind::activation:
        v = activated(tape, v, step.activation);
        break;
      case StepKind::mix_initial: {
        const Var mixed = scale_by(tape, initial_rows(tape, initial, run, v.value().cols()), step.by);
        v = add(tape, scale_by(tape, v, 1.0f - step.by), mixed);
        break;
      }
    }
  return v;
}

void require_width(const Tensor& result, int64_t width) {
  require(result.cols() == width, "ERR_SHAPE", "Expected steps that give rows of ", width, " but received ",
          result.cols());
}

bool train(const Tape& tape, const SlotSteps& slots) {
  bool wanted = false;
  for (const auto& steps : slots.slots)
    if (steps)
      for (const SiteStep& step : *steps)
        wanted = tape.wants_grad({step.weight.slot().get(), step.scale.slot().get(), step.bias.slot().get()}) || wanted;
  return wanted;
}

struct Saved {
  Tensor x;  // in its own dtype
  std::vector<Run> runs;
  SlotSteps slots;
  Tensor initial;
  bool reads;  // whether x needs a gradient
};

// Adds to the gradients of the parameters, and gives the gradient of each run's rows of x to `take`, if x needs one.
template <typename Take>
void backward(Tape& tape, const Saved& saved, const Tensor& dy, Take&& take) {
  for (const Run& run : saved.runs) {
    tape.check_cancelled();
    Tape inner(tape.arena(), Tape::Mode::training);
    const Tensor rows = widened(tape, saved.x, run);
    const Var x = saved.reads ? Var::parameter(rows) : Var(rows);
    const Var out = run_steps(inner, *saved.slots.slots[static_cast<size_t>(run.slot)], x, run, saved.initial, true);
    if (!out.requires_grad()) continue;
    // A copy: the tape adds to the gradient that it is given, and others have dy too.
    const Tensor seed = rows_of(dy, run);
    inner.backward(out,
                   seed.dtype() == DType::f32 ? seed.copied_to(tape.arena()) : cast(tape, seed, DType::f32).value());
    if (saved.reads) take(run, x.grad());
  }
}

// Zeros that change no bits of what they are added to: -0 + x is x, also if x is -0.
Tensor neutral(Tape& tape, const Shape& shape) { return scale_by(tape, tape.zeros(shape, DType::f32), -1.0f).value(); }

}  // namespace

Var add_steps(Tape& tape, Var y, const Var& x, const SlotSteps& slots, const SequenceRows& rows,
              const Tensor& initial) {
  check(tape, x.value(), "x", slots, rows);
  check(tape, y.value(), "y", slots, rows);
  if (initial.defined()) check(tape, initial, "initial", slots, rows);
  std::vector<Run> runs = runs_of(slots, rows);
  if (runs.empty()) return y;
  const bool wanted = tape.wants_grad(y, x) || train(tape, slots);
  const auto y_slot = y.slot();
  Tensor sum = y.value().sole_owner() ? y.value() : y.value().copied_to(tape.arena());
  y = {};
  for (const Run& run : runs) {
    const SiteSteps& steps = *slots.slots[static_cast<size_t>(run.slot)];
    const Tensor added = run_steps(tape, steps, widened(tape, x.value(), run), run, initial, false).value();
    require_width(added, sum.cols());
    write(tape, rows_of(sum, run), widened(tape, sum, run), added);
  }
  if (!wanted) return sum;
  return tape.record("add_steps", std::move(sum),
                     [saved = Saved{x.value(), std::move(runs), slots, initial, x.requires_grad()}, x_slot = x.slot(),
                      y_slot](Tape& tape, const Tensor& dy) {
                       const Tensor dx = saved.reads ? neutral(tape, saved.x.shape()) : Tensor();
                       backward(tape, saved, dy,
                                [&](const Run& run, const Tensor& grad) { write(tape, rows_of(dx, run), grad); });
                       if (saved.reads) tape.accumulate(x_slot, cast(tape, dx, x_slot->dtype).value());
                       tape.accumulate(y_slot, dy);
                     });
}

Var apply_steps(Tape& tape, const Var& x, const SlotSteps& slots, const SequenceRows& rows, const Tensor& initial) {
  check(tape, x.value(), "x", slots, rows);
  if (initial.defined()) check(tape, initial, "initial", slots, rows);
  std::vector<Run> runs = runs_of(slots, rows);
  if (runs.empty()) return x;
  const bool wanted = tape.wants_grad(x) || train(tape, slots);
  Tensor y = x.value().copied_to(tape.arena());
  for (const Run& run : runs) {
    const SiteSteps& steps = *slots.slots[static_cast<size_t>(run.slot)];
    const Tensor result = run_steps(tape, steps, widened(tape, x.value(), run), run, initial, false).value();
    require_width(result, y.cols());
    write(tape, rows_of(y, run), result);
  }
  if (!wanted) return y;
  return tape.record("apply_steps", std::move(y),
                     [saved = Saved{x.value(), std::move(runs), slots, initial, x.requires_grad()}, x_slot = x.slot()](
                         Tape& tape, const Tensor& dy) {
                       const Tensor dx = saved.reads ? dy.copied_to(tape.arena()) : Tensor();
                       backward(tape, saved, dy,
                                [&](const Run& run, const Tensor& grad) { write(tape, rows_of(dx, run), grad); });
                       if (saved.reads) tape.accumulate(x_slot, dx);
                     });
}

}  // namespace rubricate
