#include "ops/edit_add_norm/edit_add_norm_cpu.h"

#define RUBRICATE_KERNELS "ops/edit_add_norm/edit_add_norm_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {

void close_forward_cpu(const CloseForwardArgs& args) { RUBRICATE_DISPATCH(close_forward, args); }
void close_backward_cpu(const CloseBackwardArgs& args, const CloseForwardArgs* anew) {
  RUBRICATE_DISPATCH(close_backward, args, anew);
}

}  // namespace rubricate
