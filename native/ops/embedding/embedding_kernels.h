// Arguments of the embedding's kernels.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace rubricate {

// "embedding_forward/1": y[t] = W[token[t]]. All pointers are the device's.
struct EmbeddingRowsArgs {
  const int32_t* tokens = nullptr;  // [count]
  const void* weight = nullptr;     // rows of `stride` elements, aligned to an element
  DType weight_dtype = DType::f32;  // f32, bf16 or f16
  DType dtype = DType::f32;         // of y: f32 or bf16
  void* y = nullptr;                // [count, cols]
  int64_t count = 0, cols = 0, stride = 0;
};

// "embedding_backward/1": dweight[tokens[i]] += grad[t] for t in order[starts[i]], ... up to order[starts[i + 1]],
// which ascend.
struct EmbeddingSumsArgs {
  const int32_t* tokens = nullptr;  // [groups], all different
  const int32_t* starts = nullptr;  // [groups + 1]
  const int32_t* order = nullptr;   // rows of grad
  DType dtype = DType::f32;         // of grad: f32 or bf16
  const void* grad = nullptr;       // [T, cols]
  float* dweight = nullptr;         // [V, cols]
  int64_t groups = 0, cols = 0;
};

}  // namespace rubricate
