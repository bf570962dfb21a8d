#include "ops/red_edit/red_edit.h"

#include "device/stream.h"
#include "ops/red_edit/red_edit_kernels.h"
#include "ops/shared/checks.h"
#include "ops/shared/launch.h"
#include "ops/slots/slots.h"

namespace rubricate {
namespace {

constexpr int32_t kTileRows = 16;  // rows of a device thread: see red_edit_cuda.cu

// out = scale * x + bias, each row with its slot's vectors.
Tensor edited(Tape& tape, const Tensor& x, const EditView& edit, const SequenceRows& rows) {
  Tensor out = tape.empty(x.shape(), x.dtype());
  if (Stream* stream = tape.stream()) {
    const SlotRowsOnDevice placed = slot_rows_on_device(tape, rows, kTileRows);
    const auto scale = slot_table_on_device(tape, edit.scale, edit.slots, edit.scale_on_device);
    const auto bias = slot_table_on_device(tape, edit.bias, edit.slots, edit.bias_on_device);
    stream->run("red_edit/1", EditArgs{.dtype = x.dtype(),
                                       .cols = x.cols(),
                                       .h = x.raw(),
                                       .y = out.raw(),
                                       .rows = placed.rows,
                                       .scale = scale.table,
                                       .bias = bias.table});
    return out;
  }
  parallel_segments(rows, x.cols(), [&](int64_t begin, int64_t end, int32_t slot) {
    red_edit_rows_cpu({.dtype = x.dtype(),
                       .cols = x.cols(),
                       .begin = begin,
                       .end = end,
                       .h = x.raw(),
                       .scale = edit.scale[slot],
                       .bias = edit.bias != nullptr ? edit.bias[slot] : nullptr,
                       .y = out.raw()});
  });
  return out;
}

// Gradients of the slots' vectors and dh in one pass; returns dh.
Tensor backward_on_device(Tape& tape, const SlotVectors& slots, const SlotPointers& table, const SequenceRows& rows,
                          const Tensor& h, const Tensor& grad) {
  Tensor dh = tape.empty(grad.shape(), grad.dtype());
  sum_rounds_on_device(tape, slot_sums(tape, slots, rows, h, grad), rows, dh, table.scale,
                       [&](const SlotSumsArgs& args, int64_t, int64_t) { tape.stream()->run("row_sums/1", args); });
  return dh;
}

// The checks of every red_edit.
void check(const Tape& tape, const Tensor& x, const SequenceRows& rows) {
  tape.check_cancelled("red_edit");
  require_floating(x, "h");
  require_place(tape, x, "h");
  require(rows.rows == x.rows(), "ERR_SHAPE", "Expected ", x.rows(), " rows for rows but received ", rows.rows);
}

}  // namespace

Tensor red_edit(Tape& tape, const Tensor& h, const EditView& edit, const SequenceRows& rows) {
  check(tape, h, rows);
  require_view(edit, h.cols(), rows);
  if (!any_row_has(edit.scale, rows) && !any_row_has(edit.bias, rows)) return h;
  return edited(tape, h, edit, rows);
}

Var red_edit(Tape& tape, const Var& h, const SlotVectors& slots, const SequenceRows& rows) {
  const Tensor& x = h.value();
  check(tape, x, rows);
  SlotPointers table = slot_pointers(slots, x.cols(), rows);
  const bool edit_wanted = slots_want_grad(tape, slots);
  const bool wanted = tape.wants_grad(h) || edit_wanted;
  if (!any_row_has(table.scale, rows) && !any_row_has(table.bias, rows)) return h;
  Tensor y = edited(tape, x, table.view(x.cols()), rows);
  if (!wanted) return y;
  const Tensor saved_h = any_scale_trains(slots) ? x : Tensor();
  return tape.record("red_edit", std::move(y),
                     [saved_h, slots, table = std::move(table), saved = SavedRows(rows), h_slot = h.slot()](
                         Tape& tape, const Tensor& grad) {
                       const SequenceRows rows = saved.view();
                       const bool scaled = any_row_has(table.scale, rows);
                       if (tape.stream() != nullptr && h_slot && scaled)
                         return tape.accumulate(h_slot, backward_on_device(tape, slots, table, rows, saved_h, grad));
                       red_edit_accumulate(tape, slots, rows, saved_h, grad);
                       if (!h_slot) return;
                       EditView scale_only = table.view(grad.cols());
                       scale_only.bias = nullptr;
                       tape.accumulate(h_slot, scaled ? edited(tape, grad, scale_only, rows) : grad);
                     });
}

void red_edit_accumulate(Tape& tape, const SlotVectors& slots, const SequenceRows& rows, const Tensor& h,
                         const Tensor& grad) {
  accumulate_row_sums(tape, slot_sums(tape, slots, rows, h, grad), rows);
}

}  // namespace rubricate
