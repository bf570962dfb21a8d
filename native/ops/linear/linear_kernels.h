// Arguments of the kernels of linear.h, on every device.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace rubricate {

// Which implementation multiplies on a device. A selection is made and recorded by matmul_plan.h; a kernel never
// decides by what the machine happens to have.
enum class MatmulProvider : int32_t { own = 0, cublaslt = 1 };

// How cuBLASLt forms one product, as it chose it for the product's sizes and layout: its own words, which mean nothing
// but to it, and what memory it needs.
struct MatmulAlgorithm {
  uint64_t words[8] = {};
  int64_t workspace_bytes = 0;
};

// "matmul/2". C = op(A) op(B) with fp32 accumulation.
//   A: [M, K] row-major if !a_transposed, else stored [K, M]. B: stored [N, K] if b_transposed (a weight's layout),
//   else [K, N]. C: [M, N]. bias: fp32 [N] or null, added after the sums.
//   accumulate (C f32 only): the chain of an element starts from the value in C instead of from zero.
// With our own kernels on a device the bits of the parts of a k that was cut in pieces are those of the whole where it
// is cut at multiples of 16, or anywhere unless A and B are both of 2 bytes.
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
  MatmulAlgorithm algorithm;  // of cublaslt, which "matmul_plan/1" gave for these sizes, strides and dtypes
  void* workspace = nullptr;  // of algorithm.workspace_bytes, aligned to 16, for this product alone
};

// "cublaslt/1": what the stream's device has of cuBLASLt. Puts nothing into the stream.
struct CublasltArgs {
  // The host's. version: 10000 * major + 100 * minor + patch, or 0, and then why cannot be used says why.
  struct Found {
    int32_t version = 0;
    char why[400] = {};
  }* found = nullptr;
};

// "matmul_plan/1": cuBLASLt's choice for a product whose provider is cublaslt, by sizes, strides and dtypes; the
// addresses are not looked at. Puts nothing into the stream. The same library gives the same on the same kind of
// device.
struct MatmulPlanArgs {
  MatmulArgs product;
  // The host's. there: false where cuBLASLt has nothing for this product; why says what it answered.
  struct Found {
    MatmulAlgorithm algorithm;
    bool there = false;
    char why[200] = {};
  }* found = nullptr;
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
