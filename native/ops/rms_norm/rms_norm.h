// RMSNorm: y = x / sqrt(mean(x^2) + eps) * weight, over the last axis.
//
//   r = 1 / sqrt(sum_j x_j^2 / d + eps),  y_j = x_j r w_j
//   dx_j = r (w_j g_j - x_j r^2 / d * sum_i x_i w_i g_i),   dw_j += sum_t g_tj x_tj r_t
//
// x, y [T, d] f32 or bf16; weight fp32 [d]. fp32 inside, rounded once. Source: Zhang and Sennrich 2019; transformers'
// LlamaRMSNorm (which rounds to the storage type once more before the weight).
#pragma once

#include <memory>

#include "autograd/tape.h"
#include "ops/shared/rows.h"
#include "ops/slots/slot_vectors.h"

namespace rubricate {

// Errors: ERR_SHAPE, ERR_DTYPE, ERR_FOREIGN, ERR_ABORTED.
Var rms_norm(Tape& tape, const Var& x, const Var& weight, float eps);

// The same with the weight of each row's slot: `slots` has it as `scale`, in place of `weight`, which serves the slots
// that have none and gets no gradient. A slot's gradient has the order of sums of row_sums.h. Errors: as rms_norm;
// ERR_ARGUMENT (a slot with a bias, a weight that trains).
Var rms_norm(Tape& tape, const Var& x, const Var& weight, const SlotVectors& slots, const SequenceRows& rows,
             float eps);
// The same without gradients.
Tensor rms_norm(Tape& tape, const Tensor& x, const Tensor& weight, const EditView& slots, const SequenceRows& rows,
                float eps);

// The same for each head on its own, with one weight for all: x, y [T, heads * d]; weight fp32 [d].
// Errors: as rms_norm; ERR_SHAPE if d does not divide the columns of x. Source: transformers' Qwen3Attention (q_norm).
Var head_norm(Tape& tape, const Var& x, const Var& weight, float eps);

// The gradient of a norm's weight, for every op that contains an RMSNorm:
// weight.grad_j += sum_t grad_tj x_tj inv_t: rows ascending in blocks of 64, then block sums in order
// (row_sums.h, all rows being one sequence). x, grad [T, d] f32 or bf16; inv fp32 [T].
void accumulate_rms_norm_weight(Tape& tape, const std::shared_ptr<GradSlot>& weight, const Tensor& x, const Tensor& inv,
                                const Tensor& grad);

// The same for weights by slot, which `slots` has as `scale`: a slot's rows are summed by sequence, as row_sums.h says.
void accumulate_rms_norm_slots(Tape& tape, const SlotVectors& slots, const SequenceRows& rows, const Tensor& x,
                               const Tensor& inv, const Tensor& grad);

}  // namespace rubricate
