#include "ops/layer_norm/layer_norm.h"

#include "ops/layer_norm/layer_norm_kernels.h"
#include "ops/row_sums/row_sums.h"
#include "ops/shared/checks.h"
#include "ops/shared/launch.h"
#include "ops/slots/slots.h"

namespace rubricate {
namespace {

void run(Tape& tape, const char* device_kernel, void (*cpu_kernel)(const LayerNormArgs&), const LayerNormArgs& all,
         const EditView& norm, const SequenceRows& rows) {
  if (Stream* stream = tape.stream()) {
    const SlotRowsOnDevice placed = slot_rows_on_device(tape, rows, 1);
    const auto weight = slot_table_on_device(tape, norm.scale, norm.slots, norm.scale_on_device);
    const auto bias = slot_table_on_device(tape, norm.bias, norm.slots, norm.bias_on_device);
    return stream->run(device_kernel,
                       LayerNormSlotsArgs{.all = all, .rows = placed.rows, .weight = weight.table, .bias = bias.table});
  }
  parallel_segments(rows, all.cols, [&](int64_t begin, int64_t end, int32_t slot) {
    LayerNormArgs args = all;
    args.begin = begin;
    args.end = end;
    args.weight = of_slot_or(norm.scale, slot, all.weight);
    args.bias = of_slot_or(norm.bias, slot, all.bias);
    cpu_kernel(args);
  });
}

struct Saved {
  Tensor x, mean, inv, weight;  // weight: of the model's norm; undefined: a slot without one has no norm
  SlotVectors slots;
  SlotPointers table;
  SavedRows rows;
  std::shared_ptr<GradSlot> x_slot;

  void backward(Tape& tape, const Tensor& grad) const {
    const SequenceRows sequence_rows = rows.view();
    RowSums sums = slot_sums(tape, slots, sequence_rows, x, grad);
    sums.mean = mean.data<float>();
    sums.inv = inv.data<float>();
    accumulate_row_sums(tape, sums, sequence_rows);
    if (!x_slot) return;
    const Tensor dx = tape.empty(grad.shape(), grad.dtype());
    run(tape, "layer_norm_backward/1", layer_norm_backward_cpu,
        {.dtype = grad.dtype(),
         .cols = grad.cols(),
         .end = grad.rows(),
         .x = x.raw(),
         .weight = static_cast<const float*>(weight.raw()),
         .mean = mean.data<float>(),
         .inv = inv.data<float>(),
         .grad = grad.raw(),
         .dx = dx.raw()},
        table.view(grad.cols()), sequence_rows);
    tape.accumulate(x_slot, dx);
  }
};

void check(const Tape& tape, const Tensor& x, const SequenceRows& rows) {
  tape.check_cancelled("layer_norm");
  require_floating(x, "x");
  require_place(tape, x, "x");
  require(rows.rows == x.rows(), "ERR_SHAPE", "Expected ", x.rows(), " rows for rows but received ", rows.rows);
}

void check_own(const Tape& tape, const Tensor& x, const NormVectors& own) {
  for (const Tensor& vector : {own.weight.value(), own.bias.value()}) {
    require_vector(vector, x.cols(), "the norm's own vectors");
    require_place(tape, vector, "the norm's own vectors");
  }
}

Tensor normed(Tape& tape, const Tensor& x, const NormVectors& own, const EditView& norm, const SequenceRows& rows,
              float eps) {
  Tensor y = tape.empty(x.shape(), x.dtype());
  run(tape, "layer_norm_forward/1", layer_norm_forward_cpu,
      {.dtype = x.dtype(),
       .cols = x.cols(),
       .end = x.rows(),
       .x = x.raw(),
       .weight = static_cast<const float*>(own.weight.value().raw()),
       .bias = static_cast<const float*>(own.bias.value().raw()),
       .eps = eps,
       .y = y.raw()},
      norm, rows);
  return y;
}

Var recorded(Tape& tape, const Var& x, const NormVectors& own, const SlotVectors& slots, SlotPointers table,
             const SequenceRows& rows, float eps) {
  const Tensor& value = x.value();
  const bool slots_wanted = slots_want_grad(tape, slots);
  const bool wanted = tape.wants_grad(x) || slots_wanted;
  Tensor y = tape.empty(value.shape(), value.dtype());
  const Tensor mean = wanted ? tape.empty({value.rows()}, DType::f32) : Tensor();
  const Tensor inv = wanted ? tape.empty({value.rows()}, DType::f32) : Tensor();
  run(tape, "layer_norm_forward/1", layer_norm_forward_cpu,
      {.dtype = value.dtype(),
       .cols = value.cols(),
       .end = value.rows(),
       .x = value.raw(),
       .weight = static_cast<const float*>(own.weight.value().raw()),
       .bias = static_cast<const float*>(own.bias.value().raw()),
       .eps = eps,
       .mean = static_cast<float*>(mean.raw()),
       .inv = static_cast<float*>(inv.raw()),
       .y = y.raw()},
      table.view(value.cols()), rows);
  if (!wanted) return y;
  auto saved = std::make_shared<Saved>(
      Saved{value, mean, inv, own.weight.value(), slots, std::move(table), SavedRows(rows), x.slot()});
  return tape.record("layer_norm", std::move(y),
                     [saved](Tape& tape, const Tensor& grad) { saved->backward(tape, grad); });
}

}  // namespace

Tensor layer_norm(Tape& tape, const Tensor& x, const EditView& norm, const SequenceRows& rows, float eps) {
  check(tape, x, rows);
  require_view(norm, x.cols(), rows);
  return any_row_has(norm.scale, rows) ? normed(tape, x, {}, norm, rows, eps) : x;
}

Tensor layer_norm(Tape& tape, const Tensor& x, const NormVectors& own, const EditView& slots, const SequenceRows& rows,
                  float eps) {
  check(tape, x, rows);
  check_own(tape, x, own);
  require_view(slots, x.cols(), rows);
  return normed(tape, x, own, slots, rows, eps);
}

Var layer_norm(Tape& tape, const Var& x, const SlotVectors& slots, const SequenceRows& rows, float eps) {
  const Tensor& value = x.value();
  check(tape, value, rows);
  SlotPointers table = slot_pointers(slots, value.cols(), rows);
  for (size_t s = 0; s < table.scale.size(); ++s)
    require(table.scale[s] != nullptr || table.bias[s] == nullptr, "ERR_ARGUMENT",
            "Expected a weight with the bias of slot ", s);
  if (any_row_has(table.scale, rows)) return recorded(tape, x, {}, slots, std::move(table), rows, eps);
  slots_want_grad(tape, slots);  // throws for a vector of another tape
  return x;
}

Var layer_norm(Tape& tape, const Var& x, const NormVectors& own, const SlotVectors& slots, const SequenceRows& rows,
               float eps) {
  const Tensor& value = x.value();
  check(tape, value, rows);
  check_own(tape, value, own);
  SlotPointers table = norm_pointers(slots, own.weight, own.bias, value.cols(), rows);
  if (any_row_has(table.scale, rows) || any_row_has(table.bias, rows))
    return recorded(tape, x, own, slots, std::move(table), rows, eps);
  slots_want_grad(tape, slots);
  return layer_norm(tape, x, own.weight, own.bias, eps);
}

Var layer_norm(Tape& tape, const Var& x, const Var& weight, const Var& bias, float eps) {
  constexpr int32_t kSlot = 1;  // slot 0 has no vectors
  const int32_t starts[] = {0, static_cast<int32_t>(x.value().rows())};
  const SequenceRows rows{starts[1], 1, starts, &kSlot};
  return layer_norm(tape, x, SlotVectors{{{}, {weight, bias}}}, rows, eps);
}

}  // namespace rubricate
