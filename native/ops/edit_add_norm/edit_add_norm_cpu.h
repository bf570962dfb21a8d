// Kernels of what closes a sub-layer, on the CPU, over rows [begin, end) that share one slot.
#pragma once

#include "ops/edit_add_norm/edit_add_norm_kernels.h"

namespace rubricate {

void close_forward_cpu(const CloseForwardArgs& args);
// anew: what the sum is formed of again, to the same bits, where args has none (cols, h, residual, scale, bias); or
// null. g lies apart from all inputs where there is a grad_normed.
void close_backward_cpu(const CloseBackwardArgs& args, const CloseForwardArgs* anew);

}  // namespace rubricate
