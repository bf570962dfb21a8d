// LayerNorm with a weight and bias per adapter slot: y = (x - mean) / sqrt(var + eps) * weight + bias, over the last
// axis (Ba et al. 2016; torch.nn.LayerNorm, biased variance). It is the last part of the variant "ln", where rows of a
// slot without weight are copied unchanged, and the norm of models with LayerNorm.
//
//   n = (x - mean) r, r = 1 / sqrt(var + eps);  dx = r (w g - mean(w g) - n mean(w g n));  dw += g n, db += g
//
// x, y [T, d] f32 or bf16; weight, bias fp32 [d]. Sums over rows as in red_edit.h.
#pragma once

#include "autograd/tape.h"
#include "ops/shared/rows.h"
#include "ops/slots/slot_vectors.h"

namespace rubricate {

// `slots`: scale holds the weight, bias the bias. Errors: ERR_SHAPE, ERR_DTYPE, ERR_FOREIGN, ERR_ABORTED.
Var layer_norm(Tape& tape, const Var& x, const SlotVectors& slots, const SequenceRows& rows, float eps);
// The same with one weight and bias for all rows, as a model's own norm has them. Their gradients are sums over all rows
// as those of one sequence.
Var layer_norm(Tape& tape, const Var& x, const Var& weight, const Var& bias, float eps);
// The slots' norm without gradients: x itself if no row has a weight.
Tensor layer_norm(Tape& tape, const Tensor& x, const EditView& norm, const SequenceRows& rows, float eps);

// A norm of a model, whose weight or bias a row's slot may replace: `slots` has them as scale and bias. The norm's own
// serve the slots that have none and get no gradient. Errors: as layer_norm; ERR_ARGUMENT (a norm that trains).
struct NormVectors {
  Var weight, bias;
};
Var layer_norm(Tape& tape, const Var& x, const NormVectors& own, const SlotVectors& slots, const SequenceRows& rows,
               float eps);
Tensor layer_norm(Tape& tape, const Tensor& x, const NormVectors& own, const EditView& slots, const SequenceRows& rows,
                  float eps);

}  // namespace rubricate
