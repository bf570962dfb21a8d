#include "ops/rms_norm/rms_norm.h"

#include "ops/rms_norm/rms_norm_kernels.h"
#include "ops/row_sums/row_sums.h"
#include "ops/shared/checks.h"
#include "ops/shared/launch.h"
#include "ops/slots/slots.h"

namespace rubricate {
namespace {

// value: x, reshaped so that each row is normed.
Var norm_rows(Tape& tape, const Var& x, const Tensor& value, const Var& weight, float eps) {
  require_place(tape, value, "x");
  require_place(tape, weight.value(), "weight");
  const bool wanted = tape.wants_grad(x, weight);
  Tensor y = tape.empty(x.value().shape(), value.dtype());
  const Tensor inv = wanted ? tape.empty({value.rows()}, DType::f32) : Tensor();
  launch_rows(tape.stream(), "rms_norm_forward/1", rms_norm_forward_cpu,
              RmsNormArgs{.dtype = value.dtype(),
                          .cols = value.cols(),
                          .end = value.rows(),
                          .x = value.raw(),
                          .weight = weight.value().data<float>(),
                          .eps = eps,
                          .inv = static_cast<float*>(inv.raw()),
                          .y = y.raw()});
  if (!wanted) return y;
  return tape.record(
      "rms_norm", std::move(y),
      [value, inv, w = weight.value(), x_slot = x.slot(), weight_slot = weight.slot()](Tape& tape, const Tensor& grad) {
        if (weight_slot) accumulate_rms_norm_weight(tape, weight_slot, value, inv, grad.reshaped(value.shape()));
        if (!x_slot) return;
        const Tensor dx = tape.empty(grad.shape(), value.dtype());
        launch_rows(tape.stream(), "rms_norm_backward/1", rms_norm_backward_cpu,
                    RmsNormArgs{.dtype = value.dtype(),
                                .cols = value.cols(),
                                .end = value.rows(),
                                .x = value.raw(),
                                .weight = w.data<float>(),
                                .inv = inv.data<float>(),
                                .grad = grad.raw(),
                                .dx = dx.raw()});
        tape.accumulate(x_slot, dx);
      });
}

// Each row with its slot's weight, or all.weight.
void run(Tape& tape, const char* device_kernel, void (*cpu_kernel)(const RmsNormArgs&), const RmsNormArgs& all,
         const EditView& slots, const SequenceRows& rows) {
  if (Stream* stream = tape.stream()) {
    const SlotRowsOnDevice placed = slot_rows_on_device(tape, rows, 1);
    const auto weight = slot_table_on_device(tape, slots.scale, slots.slots, slots.scale_on_device);
    return stream->run(device_kernel, RmsNormSlotsArgs{.all = all, .rows = placed.rows, .weight = weight.table});
  }
  parallel_segments(rows, all.cols, [&](int64_t begin, int64_t end, int32_t slot) {
    RmsNormArgs args = all;
    args.begin = begin;
    args.end = end;
    args.weight = of_slot_or(slots.scale, slot, all.weight);
    cpu_kernel(args);
  });
}

struct Saved {
  Tensor x, inv, weight;
  SlotVectors slots;
  SlotPointers table;
  SavedRows rows;
  std::shared_ptr<GradSlot> x_slot;

  void backward(Tape& tape, const Tensor& grad) const {
    const SequenceRows sequence_rows = rows.view();
    accumulate_rms_norm_slots(tape, slots, sequence_rows, x, inv, grad);
    if (!x_slot) return;
    const Tensor dx = tape.empty(grad.shape(), grad.dtype());
    run(tape, "rms_norm_slots_backward/1", rms_norm_backward_cpu,
        {.dtype = grad.dtype(),
         .cols = grad.cols(),
         .end = grad.rows(),
         .x = x.raw(),
         .weight = weight.data<float>(),
         .inv = inv.data<float>(),
         .grad = grad.raw(),
         .dx = dx.raw()},
        table.view(grad.cols()), sequence_rows);
    tape.accumulate(x_slot, dx);
  }
};

void check_slots_of(const Tape& tape, const Tensor& x, const Tensor& weight, const SequenceRows& rows) {
  tape.check_cancelled("rms_norm");
  require_floating(x, "x");
  require_vector(weight, x.cols(), "weight");
  require_place(tape, x, "x");
  require_place(tape, weight, "weight");
  require(rows.rows == x.rows(), "ERR_SHAPE", "Expected ", x.rows(), " rows for rows but received ", rows.rows);
}

}  // namespace

Tensor rms_norm(Tape& tape, const Tensor& x, const Tensor& weight, const EditView& slots, const SequenceRows& rows,
                float eps) {
  check_slots_of(tape, x, weight, rows);
  require_view(slots, x.cols(), rows);
  require(!any_row_has(slots.bias, rows), "ERR_ARGUMENT", "Expected no bias: an RMS norm has none");
  if (!any_row_has(slots.scale, rows)) return rms_norm(tape, Var(x), Var(weight), eps).value();
  Tensor y = tape.empty(x.shape(), x.dtype());
  run(tape, "rms_norm_slots_forward/1", rms_norm_forward_cpu,
      {.dtype = x.dtype(),
       .cols = x.cols(),
       .end = x.rows(),
       .x = x.raw(),
       .weight = weight.data<float>(),
       .eps = eps,
       .y = y.raw()},
      slots, rows);
  return y;
}

Var rms_norm(Tape& tape, const Var& x, const Var& weight, const SlotVectors& slots, const SequenceRows& rows,
             float eps) {
  const Tensor& value = x.value();
  check_slots_of(tape, value, weight.value(), rows);
  SlotPointers table = norm_pointers(slots, weight, Var(), value.cols(), rows);
  const bool wanted = slots_want_grad(tape, slots) || tape.wants_grad(x);
  if (!any_row_has(table.scale, rows)) return rms_norm(tape, x, weight, eps);
  Tensor y = tape.empty(value.shape(), value.dtype());
  const Tensor inv = wanted ? tape.empty({value.rows()}, DType::f32) : Tensor();
  run(tape, "rms_norm_slots_forward/1", rms_norm_forward_cpu,
      {.dtype = value.dtype(),
       .cols = value.cols(),
       .end = value.rows(),
       .x = value.raw(),
       .weight = weight.value().data<float>(),
       .eps = eps,
       .inv = static_cast<float*>(inv.raw()),
       .y = y.raw()},
      table.view(value.cols()), rows);
  if (!wanted) return y;
  auto saved =
      std::make_shared<Saved>(Saved{value, inv, weight.value(), slots, std::move(table), SavedRows(rows), x.slot()});
  return tape.record("rms_norm", std::move(y),
                     [saved](Tape& tape, const Tensor& grad) { saved->backward(tape, grad); });
}

Var rms_norm(Tape& tape, const Var& x, const Var& weight, float eps) {
  tape.check_cancelled("rms_norm");
  require_floating(x.value(), "x");
  require_vector(weight.value(), x.value().cols(), "weight");
  return norm_rows(tape, x, x.value(), weight, eps);
}

Var head_norm(Tape& tape, const Var& x, const Var& weight, float eps) {
  tape.check_cancelled("head_norm");
  const Tensor& value = x.value();
  require_floating(value, "x");
  const int64_t width = weight.value().count();
  require_vector(weight.value(), width, "weight");
  require(width > 0 && value.cols() % width == 0, "ERR_SHAPE", "Expected a divisor of ", value.cols(),
          " (the columns of x) for the length of weight but received ", width);
  return norm_rows(tape, x, value.reshaped({value.count() / width, width}), weight, eps);
}

void accumulate_rms_norm_weight(Tape& tape, const std::shared_ptr<GradSlot>& weight, const Tensor& x, const Tensor& inv,
                                const Tensor& grad) {
  RowSums sums;
  sums.x = x;
  sums.grad = grad;
  sums.inv = inv.data<float>();
  sums.products = {nullptr, tape.parameter_grad(weight).data<float>()};
  sums.plain = {nullptr, nullptr};
  const int32_t starts[2] = {0, static_cast<int32_t>(x.rows())}, slot = 1;
  accumulate_row_sums(tape, sums, {x.rows(), 1, starts, &slot});
}

void accumulate_rms_norm_slots(Tape& tape, const SlotVectors& slots, const SequenceRows& rows, const Tensor& x,
                               const Tensor& inv, const Tensor& grad) {
  if (!slots.trains()) return;
  RowSums sums = slot_sums(tape, slots, rows, x, grad);
  sums.inv = inv.data<float>();
  accumulate_row_sums(tape, sums, rows);
}

}  // namespace rubricate
