// Kernels of the optimizer: their arguments, on every device, and the entry points of the CPU kernels.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace rubricate {

// "adamw/2": the formula of adamw.h, with its scalars computed in double and rounded once.
struct AdamWArgs {
  int64_t count = 0;
  float* parameters = nullptr;
  const float* grad = nullptr;
  float* m = nullptr;
  float* v = nullptr;
  float grad_scale = 1.0f;
  float decay = 0.0f;  // lr wd
  float decay_target = 0.0f;
  const float* decay_targets = nullptr;  // [count]: one for each element; null: decay_target for all
  float one_minus_beta1 = 0.0f, beta2 = 0.0f, one_minus_beta2 = 0.0f;
  float step_size = 0.0f;        // lr / (1 - b1^t)
  float root_correction = 1.0f;  // sqrt(1 - b2^t)
  float eps = 0.0f;
};

constexpr int64_t kNormBlock = 4096;
// On the CPU: sums[b] = sum of squares of block b of kNormBlock values (the last block may be shorter): 16 chains, each
// of every 16th value, then a tree.
struct SquareSumArgs {
  int64_t count = 0;
  const float* values = nullptr;
  double* sums = nullptr;
};

// "square_sums/1": the same for many arrays, in the same order. Array i has counts[i] values; its first block is
// first_blocks[i].
struct SquareSumsArgs {
  const float* const* values = nullptr;   // [arrays]
  const int64_t* counts = nullptr;        // [arrays]
  const int64_t* first_blocks = nullptr;  // [arrays], ascending
  int64_t arrays = 0, blocks = 0;
  double* sums = nullptr;  // [blocks]
};

// On the CPU; on CUDA it is a cast ("cast/1").
struct RoundArgs {
  int64_t count = 0;
  const float* master = nullptr;
  void* weight = nullptr;
  DType dtype = DType::f32;  // f32, bf16 or f16
};

void adamw_cpu(const AdamWArgs& args);
void square_sums_cpu(const SquareSumArgs& args);
void round_cpu(const RoundArgs& args);

}  // namespace rubricate
