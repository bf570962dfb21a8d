// Kernels of the elementwise ops: arguments of those over rows of a matrix, on every device (those over flat arrays are
// in tensor/elementwise_args.h), and the entry points of the CPU kernels.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "tensor/elementwise_args.h"

namespace rubricate {

// out[r] = sum_j a[r, j], or sum_j (a[r, j] - b[r, j])^2 if b is given. On the CPU: 16 chains over j, then a tree.
// On CUDA ("row_sum/1"): the order of rows.cuh; begin is 0.
struct RowSumArgs {
  DType dtype = DType::f32;
  const void* a = nullptr;
  const void* b = nullptr;
  float* out = nullptr;  // [rows]
  int64_t cols = 0;
  int64_t begin = 0, end = 0;  // rows
};

// "fold/1": *out = sum of the values, in order and in double, divided by divisor; rounded once.
struct FoldArgs {
  const float* values = nullptr;  // [count]
  int64_t count = 0;
  double divisor = 1.0;
  float* out = nullptr;
};

void elementwise_cpu(const ElementwiseArgs& args);
void cast_cpu(const CastArgs& args);  // between f32 and bf16
void row_sum_cpu(const RowSumArgs& args);

}  // namespace rubricate
