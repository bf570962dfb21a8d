// Kernels of the sums over rows on the CPU.
#pragma once

#include "ops/row_sums/row_sums_kernels.h"

namespace rubricate {

void row_sums_cpu(const RowSumsArgs& args);

// sum[j] += add[j], j in [begin, end).
void add_columns_cpu(float* sum, const float* add, int64_t begin, int64_t end);

}  // namespace rubricate
