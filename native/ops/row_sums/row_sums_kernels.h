// Kernels of the sums over rows: their arguments, and the entry points of the CPU kernels.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "ops/slots/slots_kernels.h"

namespace rubricate {

constexpr int64_t kSumRows = 64;  // rows of a block of row_sums.h; changing it changes the bits of results

// On the CPU: products[j] += sum_t grad[t, j] v[t, j] and plain[j] += sum_t grad[t, j], t ascending over
// [row_begin, row_end), one chain each, for j in [col_begin, col_end). v = x, or (x - mean[t]) * inv[t] if given.
struct RowSumsArgs {
  DType dtype = DType::f32;     // of x and grad: f32 or bf16
  const void* x = nullptr;      // [T, cols]; null if products is
  const void* grad = nullptr;   // [T, cols]
  const float* mean = nullptr;  // [T], or null: 0
  const float* inv = nullptr;   // [T], or null: 1
  int64_t cols = 0;
  int64_t row_begin = 0, row_end = 0;
  int64_t col_begin = 0, col_end = 0;
  bool first = false;         // start from zero, not from the values in the arrays
  float* products = nullptr;  // [cols], or null
  float* plain = nullptr;     // [cols], or null
};

// "row_sums/1": the sums of sequences [first, last), added to their slots' gradients; and, if required, dh = scale *
// grad of their rows in the same pass.
struct SlotSumsArgs {
  DType dtype = DType::f32;  // of x, grad and dh: f32 or bf16
  int64_t cols = 0;
  const void* x = nullptr;      // [T, cols]; null if no slot needs products
  const void* grad = nullptr;   // [T, cols]
  const float* mean = nullptr;  // [T], or null: 0
  const float* inv = nullptr;   // [T], or null: 1
  void* dh = nullptr;           // [T, cols], or null
  SlotRows rows;                // tiles of kSumRows; all sequences
  int64_t first_sequence = 0, last_sequence = 0;
  int64_t first_tile = 0, last_tile = 0;  // tiles of these sequences
  float* partials = nullptr;              // [last_tile - first_tile, 2, cols]: products, then plain
  SlotTable<const float*> scale;          // for dh
  SlotTable<float*> products, plain;      // gradients [cols] of each slot, or null
};

void row_sums_cpu(const RowSumsArgs& args);

// sum[j] += add[j], j in [begin, end).
void add_columns_cpu(float* sum, const float* add, int64_t begin, int64_t end);

}  // namespace rubricate
