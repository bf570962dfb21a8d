// The matmul of few rows by a weight, as in decoding: memory is the limit, so the weight is streamed once, in its
// stored layout, with nothing of it packed. linear.h has the contract; the bits are those of the packed matmul.
#pragma once

#include <cstdint>
#include <span>

#include "ops/linear/linear.h"

namespace rubricate {

// Whether few_rows_cpu() computes this product: few rows, a weight's layout, sums that start from zero, and an
// instruction set with vectors.
bool few_rows_take(const MatmulArgs& args);

// Computes products that have A, its sizes and dtype, and the dtype of B in common, in one parallel region. Each was
// taken by few_rows_take(). Errors: ERR_OUT_OF_MEMORY.
void few_rows_cpu(std::span<const MatmulArgs> products);

}  // namespace rubricate
