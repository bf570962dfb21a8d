// Kernels of the sums over rows.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace rubricate {

// products[j] += sum_t grad[t, j] v[t, j] and plain[j] += sum_t grad[t, j], t ascending over [row_begin, row_end), one
// chain each, for j in [col_begin, col_end). v = x, or (x - mean[t]) * inv[t] where those are given.
struct RowSumsArgs {
  DType dtype = DType::f32;     // of x and grad: f32 or bf16
  const void* x = nullptr;      // [T, cols]; null where products is
  const void* grad = nullptr;   // [T, cols]
  const float* mean = nullptr;  // [T], or null: 0
  const float* inv = nullptr;   // [T], or null: 1
  int64_t cols = 0;
  int64_t row_begin = 0, row_end = 0;
  int64_t col_begin = 0, col_end = 0;
  bool first = false;         // start from zero and not from what is there
  float* products = nullptr;  // [cols], or null
  float* plain = nullptr;     // [cols], or null
};
void row_sums_cpu(const RowSumsArgs& args);

// sum[j] += add[j], j in [begin, end).
void add_columns_cpu(float* sum, const float* add, int64_t begin, int64_t end);

}  // namespace rubricate
