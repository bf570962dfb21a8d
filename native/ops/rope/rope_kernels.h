// Kernels of rope.h: their arguments, on every device, and the entry point of the CPU kernel.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace rubricate {

// "rope/2"
struct RopeArgs {
  DType x_dtype = DType::f32, y_dtype = DType::f32;     // f32 or bf16 each
  const void* x = nullptr;                              // [rows, heads * head_dim]
  void* y = nullptr;                                    // same size
  const int32_t* positions = nullptr;                   // [rows]
  const float* cos = nullptr;                           // [positions, half]
  const float* sin = nullptr;                           // [positions, half]
  int64_t rows = 0, heads = 0, half = 0, head_dim = 0;  // 2 * half <= head_dim
  bool backward = false;                                // rotates by the opposite angle
};

void rope_cpu(const RopeArgs& args);

}  // namespace rubricate
