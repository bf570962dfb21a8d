// The gradient of a norm's weight, for every op that contains an RMSNorm.
#pragma once

#include <memory>

#include "autograd/tape.h"

namespace rubricate {

// weight.grad_j += sum_t grad_tj x_tj inv_t: rows ascending in blocks of 64, then block sums in order
// (row_sums.h, all rows being one sequence). x, grad [T, d] f32 or bf16; inv fp32 [T].
void accumulate_rms_norm_weight(Tape& tape, const std::shared_ptr<GradSlot>& weight, const Tensor& x, const Tensor& inv,
                                const Tensor& grad);

}  // namespace rubricate
