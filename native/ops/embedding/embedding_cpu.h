// Kernels of the embedding.
#pragma once

#include <cstdint>

#include "autograd/weight.h"
#include "base/dtype.h"

namespace rubricate {

struct EmbeddingArgs {
  const int32_t* tokens = nullptr;
  WeightView weight;         // f32, bf16 or f16, any alignment
  DType dtype = DType::f32;  // of y: f32 or bf16
  void* y = nullptr;         // [T, d]
  int64_t begin = 0, end = 0;
};
void embedding_forward_cpu(const EmbeddingArgs& args);

// dweight[token[t]] += grad[t] for the tokens with token % parts == part, t ascending.
struct EmbeddingGradArgs {
  const int32_t* tokens = nullptr;
  int64_t count = 0, cols = 0;
  DType dtype = DType::f32;  // of grad
  const void* grad = nullptr;
  float* dweight = nullptr;  // [V, d]
  int64_t part = 0, parts = 1;
};
void embedding_backward_cpu(const EmbeddingGradArgs& args);

}  // namespace rubricate
