#include "ops/row_sums/row_sums_kernels.h"

#define RUBRICATE_KERNELS "ops/row_sums/row_sums_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {

void row_sums_cpu(const RowSumsArgs& args) { RUBRICATE_DISPATCH(row_sums, args); }
void add_columns_cpu(float* sum, const float* add, int64_t begin, int64_t end) {
  RUBRICATE_DISPATCH(add_columns, sum, add, begin, end);
}

}  // namespace rubricate
