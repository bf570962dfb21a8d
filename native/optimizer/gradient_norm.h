// The global gradient norm, and clipping by it, as torch.nn.utils.clip_grad_norm_.
#pragma once

#include <memory>
#include <vector>

#include "tensor/tensor.h"

namespace rubricate {

// sqrt of the sum of squares over all tensors (fp32): double sums per block of 4,096 elements, blocks in order. NaN and
// infinity come through. workspace: of the device that the tensors are on, where they are on one; null: its own.
// Errors: ERR_DTYPE, ERR_FOREIGN.
double gradient_norm(const std::vector<Tensor>& grads, const std::shared_ptr<Arena>& workspace = nullptr);
// The norm of each set of gradients, all in one place: on a device in one launch and one copy of the blocks' sums.
std::vector<double> gradient_norms(const std::vector<std::vector<Tensor>>& sets,
                                   const std::shared_ptr<Arena>& workspace = nullptr);
// min(1, max_norm / (norm + 1e-6)); NaN where norm is. Errors: ERR_ARGUMENT where max_norm is not above 0.
float clip_factor(double norm, double max_norm);

}  // namespace rubricate
