#include "ops/red_edit/red_edit_kernels.h"

#define RUBRICATE_KERNELS "ops/red_edit/red_edit_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {

void red_edit_rows_cpu(const EditRowsArgs& args) { RUBRICATE_DISPATCH(red_edit_rows, args); }

}  // namespace rubricate
