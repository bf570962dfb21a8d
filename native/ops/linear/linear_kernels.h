// Arguments of the kernels of linear.h, on every device.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace rubricate {

// Which implementation multiplies on a device. A selection is made and recorded by whoever fills in the arguments; a
// kernel never decides by what the machine happens to have.
enum class MatmulProvider : int32_t { own = 0 };

// "matmul/1". C = op(A) op(B) with fp32 accumulation.
//   A: [M, K] row-major if !a_transposed, else stored [K, M]. B: stored [N, K] if b_transposed (a weight's layout),
//   else [K, N]. C: [M, N]. bias: fp32 [N] or null, added after the sums.
//   accumulate (C f32 only): the chain of an element starts from the value in C instead of from zero.
// On a device the bits of the parts of a k that was cut in pieces are those of the whole where it is cut at multiples
// of 16, or anywhere unless A and B are both of 2 bytes.
struct MatmulArgs {
  int64_t m = 0, n = 0, k = 0;
  const void* a = nullptr;
  DType a_dtype = DType::f32;
  int64_t a_stride = 0;  // elements between stored rows
  bool a_transposed = false;
  const void* b = nullptr;
  DType b_dtype = DType::f32;  // f16 too
  int64_t b_stride = 0;
  bool b_transposed = false;
  void* c = nullptr;
  DType c_dtype = DType::f32;
  int64_t c_stride = 0;
  bool accumulate = false;
  const float* bias = nullptr;
  MatmulProvider provider = MatmulProvider::own;
};

// "column_sum/1": sum[n] += dy[0, n] + ... + dy[rows - 1, n]. The processor adds in that order, one chain from the
// value that is there; a device adds 8 chains, of the rows of equal r % 8, in order of r % 8.
struct ColumnSumArgs {
  const void* dy = nullptr;  // [rows, cols]
  DType dtype = DType::f32;
  int64_t rows = 0, cols = 0;
  float* sum = nullptr;  // [cols]
};

}  // namespace rubricate
