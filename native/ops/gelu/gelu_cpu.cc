#include "ops/gelu/gelu_kernels.h"

#define RUBRICATE_KERNELS "ops/gelu/gelu_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {

void gelu_forward_cpu(const GeluArgs& args) { RUBRICATE_DISPATCH(gelu_forward, args); }
void gelu_backward_cpu(const GeluArgs& args) { RUBRICATE_DISPATCH(gelu_backward, args); }

}  // namespace rubricate
