// Kernels of what closes a sub-layer, over rows [begin, end) that share one slot.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace rubricate {

struct CloseForwardArgs {
  DType dtype = DType::f32;  // of h, residual, sum and normed: f32 or bf16
  int64_t cols = 0;
  int64_t begin = 0, end = 0;
  const void* h = nullptr;
  const void* residual = nullptr;
  const float* scale = nullptr;   // null: 1
  const float* bias = nullptr;    // null: 0
  const float* weight = nullptr;  // of the norm; null: no norm
  float eps = 0.0f;
  void* sum = nullptr;
  void* normed = nullptr;
  float* inv = nullptr;  // [T] 1 / rms of the sum, or null
};
void close_forward_cpu(const CloseForwardArgs& args);

struct CloseBackwardArgs {
  DType dtype = DType::f32;  // of sum, the gradients, g and dh
  int64_t cols = 0;
  int64_t begin = 0, end = 0;
  const void* grad_sum = nullptr;     // null: 0
  const void* grad_normed = nullptr;  // null: 0, and then sum, weight, inv and g are not used
  const void* sum = nullptr;
  const float* weight = nullptr;
  const float* inv = nullptr;
  const float* scale = nullptr;  // null: 1
  void* g = nullptr;             // grad_sum + RMSNorm'(grad_normed)
  void* dh = nullptr;            // scale * g; null where not wanted
};
void close_backward_cpu(const CloseBackwardArgs& args);

}  // namespace rubricate
