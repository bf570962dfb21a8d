// The end of every sub-layer in one pass over memory: edit, addition to the residual stream, norm. Edit and norm are
// optional.
//
//   e   = fma(scale, h, bias)         (h itself if the row's slot has no edit)
//   sum = residual + e                fp32 inside, rounded once
//   normed = RMSNorm(sum)             of the rounded sum, as a later block that reads the sum would compute it
//
// backward, with g1 = d sum (from the next sub-layer's residual) and g2 = d normed:
//   g = g1 + RMSNorm'(g2), rounded once; d residual = g; dh = scale * g; dscale += g * h, dbias += g (see red_edit.h)
//
// h, residual, sum, normed [T, d] in the compute dtype (f32 or bf16); norm weight fp32 [d]. A row's slot may have its own
// weight of the norm.
#pragma once

#include <utility>

#include "autograd/tape.h"
#include "ops/red_edit/red_edit.h"
#include "ops/shared/rows.h"

namespace rubricate {

struct SumNorm {
  Var weight;  // fp32 [d]; undefined: no norm, and the second result is undefined
  float eps = 0.0f;
  // The weights of slots, as `scale`, in place of `weight`, which then does not train (see rms_norm.h). Both null, or one
  // of them: for training, and without gradients.
  const SlotVectors* slots = nullptr;
  const EditView* view = nullptr;
};

// Returns {sum, normed}. `edit` may be null. Errors: ERR_SHAPE, ERR_DTYPE, ERR_FOREIGN, ERR_ABORTED.
std::pair<Var, Var> edit_add_norm(Tape& tape, const Var& h, const Var& residual, const SlotVectors* edit,
                                  const SequenceRows& rows, const SumNorm& norm);

// The same without gradients.
std::pair<Tensor, Tensor> edit_add_norm(Tape& tape, const Tensor& h, const Tensor& residual, const EditView& edit,
                                        const SequenceRows& rows, const SumNorm& norm);

}  // namespace rubricate
