#include "ops/rms_norm/rms_norm_kernels.h"

#define RUBRICATE_KERNELS "ops/rms_norm/rms_norm_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {

void rms_norm_forward_cpu(const RmsNormArgs& args) { RUBRICATE_DISPATCH(rms_norm_forward, args); }
void rms_norm_backward_cpu(const RmsNormArgs& args) { RUBRICATE_DISPATCH(rms_norm_backward, args); }

}  // namespace rubricate
