// Kernels of LayerNorm over rows [begin, end) that share one slot.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace rubricate {

struct LayerNormArgs {
  DType dtype = DType::f32;  // of x, y, grad and dx: f32 or bf16
  int64_t cols = 0;
  int64_t begin = 0, end = 0;
  const void* x = nullptr;
  const float* weight = nullptr;  // null: the rows pass unchanged
  const float* bias = nullptr;    // null: 0
  float eps = 0.0f;
  float* mean = nullptr;       // [T]: written by forward where given, read by backward
  float* inv = nullptr;        // [T] 1 / sqrt(var + eps): likewise
  void* y = nullptr;           // forward
  const void* grad = nullptr;  // backward
  void* dx = nullptr;          // backward
};
void layer_norm_forward_cpu(const LayerNormArgs& args);
void layer_norm_backward_cpu(const LayerNormArgs& args);

}  // namespace rubricate
