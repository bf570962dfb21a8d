#include "ops/edit_add_norm/edit_add_norm.h"

#include "device/stream.h"
#include "ops/edit_add_norm/edit_add_norm_kernels.h"
#include "ops/red_edit/red_edit.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/shared/checks.h"
#include "ops/shared/launch.h"
#include "ops/slots/slots.h"

namespace rubricate {
namespace {

// Only what the backward needs.
struct Saved {
  std::shared_ptr<GradSlot> h_slot, residual_slot, weight_slot;
  SlotVectors slots;  // empty if no row has an edit
  SlotPointers table;
  SavedRows rows;
  SlotVectors norm_slots;  // none if no row has its own weight of the norm
  SlotPointers norm_table;
  Tensor h;                 // if a scale trains
  Tensor sum, inv, weight;  // if there is a norm
  Tensor residual;          // saved in place of the sum if that can be recomputed

  bool edit_trains() const { return slots.trains(); }
  bool own_norms() const { return !norm_table.scale.empty(); }
  // g: the gradient of the sum; dh: that of h. Either may be an input's own tensor.
  void backward(Tape& tape, const Tensor& grad_sum, const Tensor& grad_normed) const;
  void run_on_device(Tape& tape, const EditAddNormBackwardSlotsArgs& args) const;
};

void check(const Tape& tape, const Tensor& h, const Tensor& residual, const SumNorm& norm) {
  tape.check_cancelled("edit_add_norm");
  require_floating(h, "h");
  require_like(residual, h, "residual");
  require_place(tape, h, "h");
  require_place(tape, residual, "residual");
  require_place(tape, norm.weight.value(), "norm.weight");
  if (norm.weight.defined()) require_vector(norm.weight.value(), h.cols(), "norm.weight");
}

// One sequence without an edit, for calls in which no row has vectors.
struct UneditedRows {
  explicit UneditedRows(int64_t rows) : starts{0, static_cast<int32_t>(rows)} {}
  SequenceRows view() const { return {starts[1], 1, starts, &slot}; }
  int32_t starts[2];
  int32_t slot = 0;
};

// No edit, of as many slots.
SlotPointers no_edit(size_t slots) {
  return {std::vector<const float*>(slots, nullptr), std::vector<const float*>(slots, nullptr)};
}

void Saved::run_on_device(Tape& tape, const EditAddNormBackwardSlotsArgs& args) const {
  if (!own_norms()) return tape.stream()->run("edit_add_norm_backward/1", args);
  const auto placed = slot_table_on_device(tape, norm_table.scale);
  EditAddSlotNormBackwardArgs own{args, placed.table};
  tape.stream()->run("edit_add_slot_norm_backward/1", own);
}

void Saved::backward(Tape& tape, const Tensor& grad_sum, const Tensor& grad_normed) const {
  const Tensor& like = grad_sum.defined() ? grad_sum : grad_normed;
  if (weight_slot && grad_normed.defined()) accumulate_rms_norm_weight(tape, weight_slot, sum, inv, grad_normed);
  if (own_norms() && grad_normed.defined())
    accumulate_rms_norm_slots(tape, norm_slots, rows.view(), sum, inv, grad_normed);
  if (!h_slot && !residual_slot && !edit_trains()) return;

  const SequenceRows sequence_rows = rows.view();
  const Tensor g = grad_normed.defined() ? tape.empty(like.shape(), like.dtype()) : grad_sum;
  const bool scaled = h_slot && any_row_has(table.scale, sequence_rows);
  const Tensor dh = scaled ? tape.empty(like.shape(), like.dtype()) : g;
  EditAddNormBackwardArgs all{.dtype = like.dtype(),
                              .cols = like.cols(),
                              .grad_sum = grad_sum.raw(),
                              .grad_normed = grad_normed.raw(),
                              .sum = sum.raw(),
                              .weight = static_cast<const float*>(weight.raw()),
                              .inv = static_cast<const float*>(inv.raw()),
                              .g = g.raw(),
                              .dh = scaled ? dh.raw() : nullptr};
  if (Stream* stream = tape.stream()) {
    if (grad_normed.defined() || scaled || edit_trains())  // otherwise g and dh are grad_sum itself
      sum_rounds_on_device(tape, slot_sums(tape, slots, sequence_rows, h, g), sequence_rows, scaled ? dh : Tensor(),
                           table.scale, [&](const SlotSumsArgs& sums, int64_t begin, int64_t end) {
                             if (!grad_normed.defined()) return stream->run("row_sums/1", sums);
                             all.begin = begin;
                             all.end = end;
                             run_on_device(tape, {.all = all, .sums = sums});
                           });
    tape.accumulate(residual_slot, g);
    tape.accumulate(h_slot, dh);
    return;
  }
  MakeRows make_rows;
  if (grad_normed.defined() || scaled)
    make_rows = [&](int64_t begin, int64_t end) {
      for_each_segment(sequence_rows, begin, end, [&](int64_t first, int64_t last, int32_t slot) {
        EditAddNormBackwardArgs args = all;
        args.begin = first;
        args.end = last;
        args.scale = table.scale[static_cast<size_t>(slot)];
        if (own_norms()) args.weight = of_slot_or(norm_table.scale.data(), slot, all.weight);
        const EditAddNormArgs recompute_sum{.cols = all.cols,
                                            .h = h.raw(),
                                            .residual = residual.raw(),
                                            .scale = args.scale,
                                            .bias = table.bias[static_cast<size_t>(slot)]};
        edit_add_norm_backward_cpu(args, residual.defined() ? &recompute_sum : nullptr);
      });
    };
  accumulate_row_sums(tape, slot_sums(tape, slots, sequence_rows, h, g), sequence_rows, make_rows);
  tape.accumulate(residual_slot, g);
  tape.accumulate(h_slot, dh);
}

// norm: the slots' own weights; its `scale` may be null.
void run_forward(Tape& tape, const EditAddNormArgs& all, const EditView& edit, const EditView& norm,
                 const SequenceRows& rows) {
  if (Stream* stream = tape.stream()) {
    const SlotRowsOnDevice placed = slot_rows_on_device(tape, rows, 1);
    const auto scale = slot_table_on_device(tape, edit.scale, edit.slots, edit.scale_on_device);
    const auto bias = slot_table_on_device(tape, edit.bias, edit.slots, edit.bias_on_device);
    const EditAddNormSlotsArgs args{.all = all, .rows = placed.rows, .scale = scale.table, .bias = bias.table};
    if (norm.scale == nullptr) return stream->run("edit_add_norm_forward/1", args);
    const auto weight = slot_table_on_device(tape, norm.scale, norm.slots, norm.scale_on_device);
    return stream->run("edit_add_slot_norm_forward/1", EditAddSlotNormArgs{args, weight.table});
  }
  parallel_segments(rows, all.cols, [&](int64_t begin, int64_t end, int32_t slot) {
    EditAddNormArgs args = all;
    args.begin = begin;
    args.end = end;
    args.scale = of_slot(edit.scale, slot);
    args.bias = of_slot(edit.bias, slot);
    args.weight = of_slot_or(norm.scale, slot, all.weight);
    edit_add_norm_forward_cpu(args);
  });
}

// The own weights of slots for a forward without gradients; no slots if no row has any.
EditView norm_view(const SumNorm& norm, int64_t width, const SequenceRows& rows) {
  if (norm.view == nullptr) return {};
  require_view(*norm.view, width, rows);
  require(!any_row_has(norm.view->bias, rows), "ERR_ARGUMENT", "Expected no bias: an RMS norm has none");
  return any_row_has(norm.view->scale, rows) ? *norm.view : EditView();
}

// The vectors of the rows' slots in a forward that may train.
struct RowVectors {
  SlotVectors edits{{{}}}, norms;  // none where no row has any
  SlotPointers edit_table = no_edit(1), norm_table;
  EditView weights;      // of the norm; points into norm_table, or is the caller's
  bool by_slot = false;  // whether any row has a vector
  bool wanted = false;   // whether any vector needs a gradient
};

RowVectors vectors_of(const Tape& tape, const SlotVectors* edit, const SumNorm& norm, const Tensor& h,
                      const SequenceRows& rows) {
  RowVectors of;
  if (edit == nullptr && norm.slots == nullptr && norm.view == nullptr) return of;
  require(rows.rows == h.rows(), "ERR_SHAPE", "Expected ", h.rows(), " rows for rows but received ", rows.rows);
  of.weights = norm_view(norm, h.cols(), rows);
  require(of.weights.slots == 0 || !tape.training(), "ERR_INTERNAL", "Expected no view in training");
  if (norm.slots != nullptr) {
    SlotPointers given = norm_pointers(*norm.slots, norm.weight, Var(), h.cols(), rows);
    of.wanted = slots_want_grad(tape, *norm.slots);
    if (any_row_has(given.scale, rows)) {
      of.norm_table = std::move(given);
      of.norms = *norm.slots;
      of.weights = of.norm_table.view(h.cols());
    }
  }
  if (of.weights.slots > 0) {
    of.by_slot = true;
    of.edit_table = no_edit(static_cast<size_t>(of.weights.slots));
    of.edits.slots.resize(of.edit_table.scale.size());
  }
  if (edit == nullptr) return of;
  SlotPointers given = slot_pointers(*edit, h.cols(), rows);
  of.wanted = slots_want_grad(tape, *edit) || of.wanted;
  if (!any_row_has(given.scale, rows) && !any_row_has(given.bias, rows)) return of;
  of.by_slot = true;
  of.edit_table = std::move(given);
  of.edits = *edit;
  return of;
}

}  // namespace

std::pair<Tensor, Tensor> edit_add_norm(Tape& tape, const Tensor& h, const Tensor& residual, const EditView& edit,
                                        const SequenceRows& rows, const SumNorm& norm) {
  check(tape, h, residual, norm);
  require(rows.rows == h.rows(), "ERR_SHAPE", "Expected ", h.rows(), " rows for rows but received ", rows.rows);
  require_view(edit, h.cols(), rows);
  const EditView weights = norm_view(norm, h.cols(), rows);
  const UneditedRows unedited(h.rows());
  const bool edits = any_row_has(edit, rows), own = weights.slots > 0;
  Tensor sum = tape.empty(h.shape(), h.dtype());
  Tensor normed = norm.weight.defined() ? tape.empty(h.shape(), h.dtype()) : Tensor();
  run_forward(tape,
              {.dtype = h.dtype(),
               .cols = h.cols(),
               .end = h.rows(),
               .h = h.raw(),
               .residual = residual.raw(),
               .weight = static_cast<const float*>(norm.weight.value().raw()),
               .eps = norm.eps,
               .sum = sum.raw(),
               .normed = normed.raw()},
              edits ? edit : EditView{.slots = own ? edit.slots : 1, .width = h.cols()}, weights,
              edits || own ? rows : unedited.view());
  return {std::move(sum), std::move(normed)};
}

std::pair<Var, Var> edit_add_norm(Tape& tape, const Var& h, const Var& residual, const SlotVectors* edit,
                                  const SequenceRows& rows, const SumNorm& norm) {
  const Tensor& x = h.value();
  check(tape, x, residual.value(), norm);
  const UneditedRows unedited(x.rows());
  RowVectors vectors = vectors_of(tape, edit, norm, x, rows);
  const SequenceRows used = vectors.by_slot ? rows : unedited.view();
  const bool wanted =
      tape.wants_grad({h.slot().get(), residual.slot().get(), norm.weight.slot().get()}) || vectors.wanted;

  const bool normalises = norm.weight.defined();
  Tensor sum = tape.empty(x.shape(), x.dtype());
  const Tensor normed = normalises ? tape.empty(x.shape(), x.dtype()) : Tensor();
  const Tensor inv = wanted && normalises ? tape.empty({x.rows()}, DType::f32) : Tensor();
  run_forward(tape,
              {.dtype = x.dtype(),
               .cols = x.cols(),
               .end = x.rows(),
               .h = x.raw(),
               .residual = residual.value().raw(),
               .weight = static_cast<const float*>(norm.weight.value().raw()),
               .eps = norm.eps,
               .sum = sum.raw(),
               .normed = normed.raw(),
               .inv = static_cast<float*>(inv.raw())},
              vectors.edit_table.view(x.cols()), vectors.weights, used);
  if (!wanted) return {sum, normed};

  // h is kept for the scale's gradient and the residual by the op that made it, so the sum is recomputed, not stored,
  // unless a weight's gradient needs it. (The device kernels have no registers left to recompute it.)
  const bool keeps_h = any_scale_trains(vectors.edits);
  const bool weight_trains = norm.weight.requires_grad() || vectors.norms.trains();
  const bool recompute_sum = keeps_h && normalises && !weight_trains && tape.stream() == nullptr;
  auto saved = std::make_shared<Saved>(Saved{.h_slot = h.slot(),
                                             .residual_slot = residual.slot(),
                                             .weight_slot = norm.weight.slot(),
                                             .slots = std::move(vectors.edits),
                                             .table = std::move(vectors.edit_table),
                                             .rows = SavedRows(used),
                                             .norm_slots = std::move(vectors.norms),
                                             .norm_table = std::move(vectors.norm_table),
                                             .h = keeps_h ? x : Tensor(),
                                             .sum = normalises && !recompute_sum ? sum : Tensor(),
                                             .inv = inv,
                                             .weight = norm.weight.value(),
                                             .residual = recompute_sum ? residual.value() : Tensor()});
  return tape.record2("edit_add_norm", std::move(sum), normed,
                      [saved](Tape& tape, const Tensor& grad_sum, const Tensor& grad_normed) {
                        saved->backward(tape, grad_sum, grad_normed);
                      });
}

}  // namespace rubricate
