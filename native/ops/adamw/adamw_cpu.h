// Kernels of the optimizer, on raw pointers.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace rubricate {

// The formula of adamw.h with its scalars worked out in double and rounded once.
struct AdamWArgs {
  int64_t count = 0;
  float* parameters = nullptr;
  const float* grad = nullptr;
  float* m = nullptr;
  float* v = nullptr;
  float grad_scale = 1.0f;
  float decay = 0.0f;  // lr wd
  float decay_target = 0.0f;
  float one_minus_beta1 = 0.0f, beta2 = 0.0f, one_minus_beta2 = 0.0f;
  float step_size = 0.0f;        // lr / (1 - b1^t)
  float root_correction = 1.0f;  // sqrt(1 - b2^t)
  float eps = 0.0f;
};
void adamw_cpu(const AdamWArgs& args);

constexpr int64_t kNormBlock = 4096;
// sums[b] = sum of squares of block b of kNormBlock values (the last may be shorter).
struct SquareSumArgs {
  int64_t count = 0;
  const float* values = nullptr;
  double* sums = nullptr;
};
void square_sums_cpu(const SquareSumArgs& args);

struct RoundArgs {
  int64_t count = 0;
  const float* master = nullptr;
  void* weight = nullptr;
  DType dtype = DType::f32;  // f32, bf16 or f16
};
void round_cpu(const RoundArgs& args);

}  // namespace rubricate
