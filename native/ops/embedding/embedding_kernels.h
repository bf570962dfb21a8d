// Kernels of the embedding: their arguments, and the entry points of the CPU kernels.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "tensor/weight_view.h"

namespace rubricate {

// On the CPU: y[t] = W[token[t]] for t in [begin, end).
struct EmbeddingArgs {
  const int32_t* tokens = nullptr;
  WeightView weight;         // f32, bf16 or f16, any alignment
  DType dtype = DType::f32;  // of y: f32 or bf16
  void* y = nullptr;         // [T, d]
  int64_t begin = 0, end = 0;
};
void embedding_forward_cpu(const EmbeddingArgs& args);

// On the CPU: dweight[token[t]] += grad[t] for the tokens with token % parts == part, t ascending.
struct EmbeddingGradArgs {
  const int32_t* tokens = nullptr;
  int64_t count = 0, cols = 0;
  DType dtype = DType::f32;  // of grad
  const void* grad = nullptr;
  float* dweight = nullptr;  // [V, d]
  int64_t part = 0, parts = 1;
};
void embedding_backward_cpu(const EmbeddingGradArgs& args);

// "embedding_forward/1": y[t] = W[token[t]]. All pointers are to device memory.
struct EmbeddingRowsArgs {
  const int32_t* tokens = nullptr;  // [count]
  const void* weight = nullptr;     // rows of `stride` elements, aligned to an element
  DType weight_dtype = DType::f32;  // f32, bf16 or f16
  DType dtype = DType::f32;         // of y: f32 or bf16
  void* y = nullptr;                // [count, cols]
  int64_t count = 0, cols = 0, stride = 0;
};

// "embedding_backward/1": dweight[tokens[i]] += grad[t] for t in order[starts[i]] ... order[starts[i + 1] - 1], which
// ascend.
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
