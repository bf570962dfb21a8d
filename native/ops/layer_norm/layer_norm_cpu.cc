#include "ops/layer_norm/layer_norm_kernels.h"

#define RUBRICATE_KERNELS "ops/layer_norm/layer_norm_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {

void layer_norm_forward_cpu(const LayerNormArgs& args) { RUBRICATE_DISPATCH(layer_norm_forward, args); }
void layer_norm_backward_cpu(const LayerNormArgs& args) { RUBRICATE_DISPATCH(layer_norm_backward, args); }

}  // namespace rubricate
