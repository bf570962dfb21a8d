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

#include "autograd/tape.h"
#include "ops/row_sums/row_sums.h"
#include "ops/shared/rows.h"
#include "ops/slots/slot_vectors.h"

namespace rubricate {

// Errors: ERR_SHAPE (a vector is not [d]), ERR_ARGUMENT (rows), ERR_DTYPE, ERR_FOREIGN, ERR_ABORTED.
// The backward's sums are those of ops/row_sums; edit_add_norm fuses both passes with what follows an edit.
Var red_edit(Tape& tape, const Var& h, const SlotVectors& slots, const SequenceRows& rows);

// The same without gradients: h itself if no row has a vector. Errors: as above.
Tensor red_edit(Tape& tape, const Tensor& h, const EditView& edit, const SequenceRows& rows);

// Adds the sums over rows of grad * h and of grad to the slots' gradients, as described above.
void red_edit_accumulate(Tape& tape, const SlotVectors& slots, const SequenceRows& rows, const Tensor& h,
                         const Tensor& grad);

}  // namespace rubricate
