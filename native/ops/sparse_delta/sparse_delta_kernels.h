// Kernels of the sparse update: their arguments, on every device, and the CPU entry points.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace rubricate {

constexpr int64_t kSparseRows = 64;  // rows of a block; changing it changes the bits of dv

// "sparse_add/1": to[t, r] += sum_i values[e_i] from[t, columns[i]], i from starts[r] to starts[r + 1] - 1, for rows [begin, end).
// e_i = order[i], or i without one. fresh: `to` has no values yet, and they count as -0, which changes no bits of a sum. So it is the forward with the entries by rows, and dx with those by columns.
// On the CPU: of [first, last) alone, at most kSparseRows rows.
struct SparseAddArgs {
  DType from_dtype = DType::f32, to_dtype = DType::f32;  // f32 or bf16
  const void* from = nullptr;                            // [T, inputs]
  void* to = nullptr;                                    // [T, outputs]
  int64_t inputs = 0, outputs = 0;
  const int32_t* starts = nullptr;  // [outputs + 1]
  const int32_t* columns = nullptr;
  const int32_t* order = nullptr;
  const float* values = nullptr;
  bool fresh = false;
  int64_t begin = 0, end = 0;
  int64_t first = 0, last = 0;
  float* scratch = nullptr;  // CPU: sparse_scratch(inputs) floats
};

// Rows of one sequence, at most kSparseRows.
struct SparseBlock {
  int32_t begin, end;
  int32_t last;  // whether it is the last of its sequence
};

// CPU: sums[i] = sum_t grad[t, n_i] x[t, k_i] over t in [begin, end), at most kSparseRows rows.
// "sparse_sums/1": the same for each block, into sums [block_count, count], which are then added to carry [count], a sequence's
// sum so far, and at a sequence's end to gradient [count].
struct SparseSumsArgs {
  DType x_dtype = DType::f32, grad_dtype = DType::f32;  // f32 or bf16
  const void* x = nullptr;                              // [T, inputs]
  const void* grad = nullptr;                           // [T, outputs]
  int64_t inputs = 0, outputs = 0, count = 0;
  const int32_t* starts = nullptr;   // [outputs + 1]
  const int32_t* columns = nullptr;  // [count]
  float* sums = nullptr;
  int64_t begin = 0, end = 0;                   // CPU
  float* scratch = nullptr;                     // CPU: sparse_scratch(inputs + outputs) floats
  const SparseBlock* blocks = nullptr;          // device
  int64_t block_count = 0;                      // device
  float *carry = nullptr, *gradient = nullptr;  // device
};

// Floats for kSparseRows rows of `columns` columns, transposed in blocks of at most 16 columns.
constexpr int64_t sparse_scratch(int64_t columns) { return (columns + 32) * kSparseRows; }

void sparse_add_cpu(const SparseAddArgs& args);
void sparse_sums_cpu(const SparseSumsArgs& args);

}  // namespace rubricate
