// Kernels of what closes a sub-layer, on the CPU, over rows [begin, end) that share one slot.
#pragma once

#include "ops/close/close_kernels.h"

namespace rubricate {

void close_forward_cpu(const CloseForwardArgs& args);
void close_backward_cpu(const CloseBackwardArgs& args);

}  // namespace rubricate
