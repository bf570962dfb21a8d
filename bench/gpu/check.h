// A kernel's result is compared with the CPU's before the kernel is timed: in its first and its last rows.
#pragma once

#include <cstdint>
#include <vector>

#include "gpu/measure.h"

namespace rubricate::bench {

struct RowRange {
  int64_t begin = 0, count = 0;
};

// The first and the last rows of `rows`, a few of each.
std::vector<RowRange> checked_ranges(int64_t rows);

// Rows of a device's [rows, cols] or [rows], as they are stored.
std::vector<char> rows_of(const Run& run, const Tensor& tensor, RowRange range);

// Throws ERR_INTERNAL if an element of these rows of `found` is further from `wanted` than the rounding of its dtype
// allows: 2^-7 of the largest element for bf16, 1e-5 for fp32. wanted: as stored.
void require_close(const Run& run, const char* what, const Tensor& found, RowRange range,
                   const std::vector<char>& wanted);

// The same for single numbers; `largest` is that of all numbers like them.
void require_close(const char* what, double found, double wanted, double largest, DType dtype);

}  // namespace rubricate::bench
