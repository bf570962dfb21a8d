// Vectors of the slots of a batch: of an edit (scale and bias), or of a layer norm (weight and bias).
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

struct SlotPointers {  // [slots] each; null pointers mean 1 and 0
  std::vector<const float*> scale, bias;
};
// Checks the vectors, then collects their pointers.
SlotPointers slot_pointers(const SlotVectors& slots, int64_t width, const SequenceRows& rows);
// Whether any vector needs a gradient on this tape. Throws ERR_FOREIGN, also for a vector on another device than the
// tape's.
bool slots_want_grad(const Tape& tape, const SlotVectors& slots);
// Whether any row's slot has a vector.
bool any_row_has(const std::vector<const float*>& vectors, const SequenceRows& rows);
bool any_scale_trains(const SlotVectors& slots);

}  // namespace rubricate
