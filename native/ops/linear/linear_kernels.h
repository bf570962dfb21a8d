// Arguments of the kernels of linear.h, on every device.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace rubricate {

// The implementation that runs a matmul on a device. matmul_plan.h selects and records it; a kernel never decides by
// what is installed.
enum class MatmulProvider : int32_t { own = 0, cublaslt = 1 };

// An algorithm of cuBLASLt, chosen by it for a matmul's sizes and layout: opaque words, and the memory that it needs.
struct MatmulAlgorithm {
  uint64_t words[8] = {};
  int64_t workspace_bytes = 0;
};

// "matmul/2". C = op(A) op(B) with fp32 accumulation.
//   A: [M, K] row-major if !a_transposed, else stored [K, M]. B: stored [N, K] if b_transposed (a weight's layout),
//   else [K, N]. C: [M, N]. bias: fp32 [N] or null, added after the sums.
//   accumulate (C f32 only): the chain of an element starts from the value in C instead of from zero.
// With our own kernels on a device, adding the parts of a split k gives the bits of the whole if k is split at
// multiples of 16, or anywhere unless A and B both have 2-byte elements.
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
  MatmulAlgorithm algorithm;  // for cublaslt: the one that "matmul_plan/1" gave for these sizes, strides and dtypes
  void* workspace = nullptr;  // algorithm.workspace_bytes, aligned to 16, used by this matmul only
};

// "cublaslt/1": the version of cuBLASLt on the stream's device. Queues nothing.
struct CublasltArgs {
  // Host memory. version: 10000 * major + 100 * minor + patch, or 0 if it cannot be used; then `why` is the reason.
  struct Found {
    int32_t version = 0;
    char why[400] = {};
  }* found = nullptr;
};

// "matmul_plan/1": cuBLASLt's algorithm for a matmul whose provider is cublaslt, by sizes, strides and dtypes;
// addresses are ignored. Queues nothing. The same library gives the same algorithm on the same kind of device.
struct MatmulPlanArgs {
  MatmulArgs product;
  // Host memory. there: false if cuBLASLt has no algorithm for this matmul; `why` is its answer.
  struct Found {
    MatmulAlgorithm algorithm;
    bool there = false;
    char why[200] = {};
  }* found = nullptr;
};

// "column_sum/1": sum[n] += dy[0, n] + ... + dy[rows - 1, n]. The CPU adds in that order, one chain that starts from
// the value in sum; a device adds 8 chains, of the rows with equal r % 8, in order of r % 8.
struct ColumnSumArgs {
  const void* dy = nullptr;  // [rows, cols]
  DType dtype = DType::f32;
  int64_t rows = 0, cols = 0;
  float* sum = nullptr;  // [cols]
};

}  // namespace rubricate
