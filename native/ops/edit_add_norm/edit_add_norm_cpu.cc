#include "ops/edit_add_norm/edit_add_norm_kernels.h"

#include "ops/red_edit/red_edit_kernels.h"
#include "ops/rms_norm/rms_norm_kernels.h"

#define RUBRICATE_KERNELS "ops/edit_add_norm/edit_add_norm_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {

void edit_add_norm_forward_cpu(const EditAddNormArgs& args) { RUBRICATE_DISPATCH(edit_add_norm_forward, args); }
void edit_add_norm_backward_cpu(const EditAddNormBackwardArgs& args, const EditAddNormArgs* recompute_sum) {
  RUBRICATE_DISPATCH(edit_add_norm_backward, args, recompute_sum);
}

}  // namespace rubricate
