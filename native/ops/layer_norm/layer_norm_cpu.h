// Kernels of LayerNorm on the CPU, over rows [begin, end) that share one slot.
#pragma once

#include "ops/layer_norm/layer_norm_kernels.h"

namespace rubricate {

void layer_norm_forward_cpu(const LayerNormArgs& args);
void layer_norm_backward_cpu(const LayerNormArgs& args);

}  // namespace rubricate
