// Kernels of the elementwise ops on the CPU.
#pragma once

#include "ops/elementwise/elementwise_kernels.h"

namespace rubricate {

void elementwise_cpu(const ElementwiseArgs& args);
void cast_cpu(const CastArgs& args);  // between f32 and bf16
void row_sum_cpu(const RowSumArgs& args);

}  // namespace rubricate
