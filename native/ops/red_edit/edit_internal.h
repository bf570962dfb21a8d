// What ops that fuse the edit, or have vectors per slot like it, need beyond red_edit.h.
#pragma once

#include <vector>

#include "ops/red_edit/red_edit.h"
#include "ops/row_sums/row_sums.h"
#include "ops/shared/segments.h"

namespace rubricate {

// Whether any vector needs a gradient on this tape. Throws ERR_FOREIGN, also for a vector in another
// place than the tape's.
bool edit_wants_grad(const Tape& tape, const EditSlots& slots);
// Whether the slot of any row has a vector.
bool any_row_has(const std::vector<const float*>& vectors, const SequenceRows& rows);
bool any_scale_trains(const EditSlots& slots);
// The sums that make the slots' gradients: into scale.grad the products with x, into bias.grad the plain ones.
RowSums edit_sums(Tape& tape, const EditSlots& slots, const SequenceRows& rows, const Tensor& x, const Tensor& grad);

}  // namespace rubricate
