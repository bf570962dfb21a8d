#include "ops/sparse_delta/sparse_delta_kernels.h"

#define RUBRICATE_KERNELS "ops/sparse_delta/sparse_delta_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {

void sparse_add_cpu(const SparseAddArgs& args) { RUBRICATE_DISPATCH(sparse_add, args); }
void sparse_sums_cpu(const SparseSumsArgs& args) { RUBRICATE_DISPATCH(sparse_sums, args); }

}  // namespace rubricate
