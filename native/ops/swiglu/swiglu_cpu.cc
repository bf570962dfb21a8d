#include "ops/swiglu/swiglu_kernels.h"

#define RUBRICATE_KERNELS "ops/swiglu/swiglu_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {

void swiglu_forward_cpu(const SwigluArgs& args) { RUBRICATE_DISPATCH(swiglu_forward, args); }
void swiglu_backward_cpu(const SwigluArgs& args) { RUBRICATE_DISPATCH(swiglu_backward, args); }

}  // namespace rubricate
