#include "ops/red_edit/red_edit.h"

#include "device/stream.h"
#include "ops/red_edit/red_edit_kernels.h"
#include "ops/shared/checks.h"
#include "ops/shared/launch.h"
#include "ops/slots/slots.h"

namespace rubricate {
namespace {

constexpr int32_t kTileRows = 16;  // rows of a device thread: see red_edit_cuda.cu

const float* vector_data(const Var& vector, int64_t width, const char* name) {
  if (!vector.defined()) return nullptr;
  require_vector(vector.value(), width, name);
  return vector.value().data<float>();
}

// out = scale * x + bias, each row with its slot's vectors.
Tensor edited(Tape& tape, const Tensor& x, const EditTable& table, bool with_bias, const SequenceRows& rows) {
  Tensor out = tape.empty(x.shape(), x.dtype());
  if (Stream* stream = tape.stream()) {
    const SlotRowsOnDevice placed = slot_rows_on_device(tape, rows, kTileRows);
    const auto scale = slot_table_on_device(tape, table.scale);
    const auto bias =
        slot_table_on_device(tape, with_bias ? table.bias : std::vector<const float*>(table.bias.size(), nullptr));
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
    const auto s = static_cast<size_t>(slot);
    red_edit_rows_cpu({.dtype = x.dtype(),
                       .cols = x.cols(),
                       .begin = begin,
                       .end = end,
                       .h = x.raw(),
                       .scale = table.scale[s],
                       .bias = with_bias ? table.bias[s] : nullptr,
                       .y = out.raw()});
  });
  return out;
}

// Gradients of the slots' vectors and dh in one pass; returns dh.
Tensor backward_on_device(Tape& tape, const EditSlots& slots, const EditTable& table, const SequenceRows& rows,
                          const Tensor& h, const Tensor& grad) {
  Tensor dh = tape.empty(grad.shape(), grad.dtype());
  sum_rounds_on_device(tape, edit_sums(tape, slots, rows, h, grad), rows, dh, table.scale,
                       [&](const SlotSumsArgs& args, int64_t, int64_t) { tape.stream()->run("row_sums/1", args); });
  return dh;
}

}  // namespace

bool EditSlots::trains() const {
  return std::any_of(slots.begin(), slots.end(),
                     [](const Vectors& v) { return v.scale.requires_grad() || v.bias.requires_grad(); });
}

EditTable edit_table(const EditSlots& slots, int64_t width, const SequenceRows& rows) {
  check_starts(rows.starts, rows.sequences, rows.rows, 0);
  check_slots(rows.slots, rows.sequences, static_cast<int64_t>(slots.slots.size()) - 1);
  EditTable table;
  table.scale.reserve(slots.slots.size());
  table.bias.reserve(slots.slots.size());
  for (const auto& [scale, bias] : slots.slots) {
    require(!table.scale.empty() || (!scale.defined() && !bias.defined()), "ERR_ARGUMENT",
            "Expected no vectors for slot 0, which means no edit");
    table.scale.push_back(vector_data(scale, width, "scale"));
    table.bias.push_back(vector_data(bias, width, "bias"));
  }
  return table;
}

bool edit_wants_grad(const Tape& tape, const EditSlots& slots) {
  bool wanted = false;
  for (const auto& [scale, bias] : slots.slots) {
    require_place(tape, scale.value(), "scale");
    require_place(tape, bias.value(), "bias");
    wanted = tape.wants_grad(scale, bias) || wanted;
  }
  return wanted;
}

bool any_row_has(const std::vector<const float*>& vectors, const SequenceRows& rows) {
  for (int64_t s = 0; s < rows.sequences; ++s)
    if (vectors[static_cast<size_t>(rows.slots[s])] != nullptr && rows.starts[s] < rows.starts[s + 1]) return true;
  return false;
}

bool any_scale_trains(const EditSlots& slots) {
  return std::any_of(slots.slots.begin(), slots.slots.end(),
                     [](const EditSlots::Vectors& v) { return v.scale.requires_grad(); });
}

Var red_edit(Tape& tape, const Var& h, const EditSlots& slots, const SequenceRows& rows) {
  tape.check_cancelled("red_edit");
  const Tensor& x = h.value();
  require_floating(x, "h");
  require_place(tape, x, "h");
  require(rows.rows == x.rows(), "ERR_SHAPE", "Expected ", x.rows(), " rows for rows but received ", rows.rows);
  EditTable table = edit_table(slots, x.cols(), rows);
  const bool edit_wanted = edit_wants_grad(tape, slots);
  const bool wanted = tape.wants_grad(h) || edit_wanted;
  if (!any_row_has(table.scale, rows) && !any_row_has(table.bias, rows)) return h;
  Tensor y = edited(tape, x, table, true, rows);
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
                       tape.accumulate(h_slot, scaled ? edited(tape, grad, table, false, rows) : grad);
                     });
}

void red_edit_accumulate(Tape& tape, const EditSlots& slots, const SequenceRows& rows, const Tensor& h,
                         const Tensor& grad) {
  accumulate_row_sums(tape, edit_sums(tape, slots, rows, h, grad), rows);
}

RowSums edit_sums(Tape& tape, const EditSlots& slots, const SequenceRows& rows, const Tensor& h, const Tensor& grad) {
  RowSums sums;
  sums.x = h;
  sums.grad = grad;
  sums.products.resize(slots.slots.size());
  sums.plain.resize(slots.slots.size());
  for (int64_t i = 0; i < rows.sequences; ++i) {
    const auto s = static_cast<size_t>(rows.slots[i]);
    const EditSlots::Vectors& vectors = slots.slots[s];
    if (vectors.scale.requires_grad()) sums.products[s] = tape.parameter_grad(vectors.scale.slot()).data<float>();
    if (vectors.bias.requires_grad()) sums.plain[s] = tape.parameter_grad(vectors.bias.slot()).data<float>();
  }
  return sums;
}

}  // namespace rubricate
