// The global gradient norm, and clipping by it, as in torch.nn.utils.clip_grad_norm_.
#pragma once

#include <memory>
#include <vector>

#include "tensor/tensor.h"

namespace rubricate {

// sqrt of the sum of squares over all tensors (fp32): sums in double per block of 4,096 elements, blocks in order. NaN
// and infinity propagate. workspace: an arena of the tensors' device, if they are on one; null: a temporary one.
// Errors: ERR_DTYPE, ERR_FOREIGN.
double global_norm(const std::vector<Tensor>& tensors, const std::shared_ptr<Arena>& workspace = nullptr);
// The norm of each set of gradients, all on one device: one launch, and one download of the blocks' sums.
std::vector<double> gradient_norms(const std::vector<std::vector<Tensor>>& sets,
                                   const std::shared_ptr<Arena>& workspace = nullptr);
// min(1, max_norm / (norm + 1e-6)); NaN if norm is NaN. Errors: ERR_ARGUMENT if max_norm is not above 0.
float clip_factor(double norm, double max_norm);

}  // namespace rubricate
