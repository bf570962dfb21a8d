// The RED edit: y = scale * h + bias, row by row, with each row's own adapter (arXiv 2402.15179v3, eq. 4).
//
//   y[t, j]  = fma(scale[s, j], h[t, j], bias[s, j])       s = slot of row t's sequence; slot 0: y = h, bit for bit
//   dh[t, j] = scale[s, j] g[t, j]
//   dscale[s, j] += sum_t g[t, j] h[t, j]     dbias[s, j] += sum_t g[t, j]      over the rows t of slot s
//
// h, y, g, dh [T, d] f32 or bf16; scale and bias fp32 [d], either may be missing (then 1, or 0). fp32 inside, y rounded
// once. The sums over rows are computed per sequence (rows ascending, in blocks of 64 counted from the sequence's first
// row), then added to the adapter's gradient in the order of its sequences. So an adapter's gradient has the same bits
// whether its sequences are alone, among others, or spread over several micro-batches.
#pragma once

#include <memory>
#include <vector>

#include "autograd/tape.h"
#include "ops/row_sums/row_sums.h"
#include "ops/shared/rows.h"

namespace rubricate {

// One site's vectors for each slot of a batch. Element 0 means "no edit" and has two undefined values.
struct EditSlots {
  struct Vectors {
    Var scale;  // fp32 [d], or undefined: 1
    Var bias;   // fp32 [d], or undefined: 0
  };
  std::vector<Vectors> slots;
  bool trains() const;  // whether any vector needs a gradient
};

// Errors: ERR_SHAPE (a vector is not [d]), ERR_ARGUMENT (rows), ERR_DTYPE, ERR_FOREIGN, ERR_ABORTED.
Var red_edit(Tape& tape, const Var& h, const EditSlots& slots, const SequenceRows& rows);

// The rest is for ops that fuse the edit, or have vectors per slot like it.

struct EditTable {  // [slots] each; null pointers mean 1 and 0
  std::vector<const float*> scale, bias;
};
// Checks the vectors, then collects their pointers.
EditTable edit_table(const EditSlots& slots, int64_t width, const SequenceRows& rows);
// Adds the sums over rows of grad * h and of grad to the slots' gradients, as described above.
void red_edit_accumulate(Tape& tape, const EditSlots& slots, const SequenceRows& rows, const Tensor& h,
                         const Tensor& grad);

// Whether any vector needs a gradient on this tape. Throws ERR_FOREIGN, also for a vector on another device than the
// tape's.
bool edit_wants_grad(const Tape& tape, const EditSlots& slots);
// Whether any row's slot has a vector.
bool any_row_has(const std::vector<const float*>& vectors, const SequenceRows& rows);
bool any_scale_trains(const EditSlots& slots);
// The row sums for the slots' gradients: sums of products with x go to scale.grad, plain sums to bias.grad.
RowSums edit_sums(Tape& tape, const EditSlots& slots, const SequenceRows& rows, const Tensor& x, const Tensor& grad);

}  // namespace rubricate
