// Vectors of the slots of a batch: of an edit (scale and bias), of a layer norm (weight and bias), or of a norm of the
// model, whose own weight and bias they replace.
#pragma once

#include <vector>

#include "autograd/tape.h"
#include "ops/shared/rows.h"

namespace rubricate {

// One site's vectors for each slot of a batch. Element 0 means "no edit" and has two undefined values.
struct SlotVectors {
  struct Vectors {
    Var scale;  // fp32 [d], or undefined: 1
    Var bias;   // fp32 [d], or undefined: 0
  };
  std::vector<Vectors> slots;
  bool trains() const;  // whether any vector needs a gradient
};

// One site's vectors for each slot, without gradients: what inference needs. They were checked before: an op reads them
// as they are. Slot 0 has none.
struct EditView {
  int64_t slots = 0;  // 0: no edit
  int64_t width = 0;  // elements of each vector
  // [slots] in host memory: addresses on the tape's device; null: 1, and 0. `bias` itself may be null: no slot has one.
  const float* const* scale = nullptr;
  const float* const* bias = nullptr;
  // The same two tables in the device's memory; null: ops upload their own copies.
  const float* const* scale_on_device = nullptr;
  const float* const* bias_on_device = nullptr;
};

// The pointer of a slot in a host table; a null table has none.
inline const float* of_slot(const float* const* table, int32_t slot) {
  return table != nullptr ? table[slot] : nullptr;
}
// A slot's vector, or the model's own if it has none.
inline const float* of_slot_or(const float* const* table, int32_t slot, const float* own) {
  const float* const found = of_slot(table, slot);
  return found != nullptr ? found : own;
}

struct SlotPointers {  // [slots] each; null pointers mean 1 and 0
  std::vector<const float*> scale, bias;
  EditView view(int64_t width) const {
    return {static_cast<int64_t>(scale.size()), width, scale.data(), bias.data(), nullptr, nullptr};
  }
};
// Checks the vectors, then collects their pointers.
SlotPointers slot_pointers(const SlotVectors& slots, int64_t width, const SequenceRows& rows);
// The same for vectors in place of those of a norm of the model: its weight and its bias, or none. Throws ERR_ARGUMENT for
// a bias where the norm has none, and if the norm's own vectors train.
SlotPointers norm_pointers(const SlotVectors& slots, const Var& weight, const Var& bias, int64_t width,
                           const SequenceRows& rows);
// Whether any vector needs a gradient on this tape. Throws ERR_FOREIGN, also for a vector on another device than the
// tape's.
bool slots_want_grad(const Tape& tape, const SlotVectors& slots);
// Whether any row's slot has a vector.
bool any_row_has(const float* const* vectors, const SequenceRows& rows);
inline bool any_row_has(const std::vector<const float*>& vectors, const SequenceRows& rows) {
  return any_row_has(vectors.data(), rows);
}
// Whether any row's slot has a vector of either kind.
inline bool any_row_has(const EditView& view, const SequenceRows& rows) {
  return any_row_has(view.scale, rows) || any_row_has(view.bias, rows);
}
// For an op that takes a view: the view must be of vectors as wide as the rows, and have every row's slot. Throws
// ERR_SHAPE, ERR_ARGUMENT.
void require_view(const EditView& view, int64_t width, const SequenceRows& rows);
bool any_scale_trains(const SlotVectors& slots);

}  // namespace rubricate
