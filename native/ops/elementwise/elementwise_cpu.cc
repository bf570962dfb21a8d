#include "ops/elementwise/elementwise_kernels.h"

#define RUBRICATE_KERNELS "ops/elementwise/elementwise_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {

void elementwise_cpu(const ElementwiseArgs& args) { RUBRICATE_DISPATCH(elementwise, args); }
void cast_cpu(const CastArgs& args) { RUBRICATE_DISPATCH(cast_kernel, args); }
void row_sum_cpu(const RowSumArgs& args) { RUBRICATE_DISPATCH(row_sum, args); }

}  // namespace rubricate
