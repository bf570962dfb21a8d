// Arguments of the kernels "elementwise/1" and "cast/1", on every device: over [begin, end) of flat arrays. Used here
// for addition and conversion, and by the elementwise ops (ops/elementwise).
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace rubricate {

enum class Elementwise : int32_t {
  add,            // out = a + b
  multiply,       // out = a * b
  scale,          // out = a * factor
  fill,           // out = factor
  silu,           // out = a * sigmoid(a)
  silu_backward,  // out = b * s * (1 + a * (1 - s)), s = sigmoid(a)
  difference,     // out = factor * (a - b)
  relu,           // out = max(0, a)
  relu_backward,  // out = b if a > 0, otherwise 0
  tanh,           // out = tanh(a)
  tanh_backward,  // out = b * (1 - tanh(a)^2)
};

// "elementwise/1". On CUDA begin is 0.
struct ElementwiseArgs {
  Elementwise op = Elementwise::add;
  DType dtype = DType::f32;  // of a, b and out: f32 or bf16
  const void* a = nullptr;
  const void* b = nullptr;  // if the op has it
  void* out = nullptr;      // may be a
  float factor = 0.0f;
  int64_t begin = 0, end = 0;
  // Only on CUDA: if not null, the factor is *multiplicand * multiplier, rounded once.
  const float* multiplicand = nullptr;
  double multiplier = 1.0;
};

// "cast/1": f32 to bf16 or f16, or bf16 or f16 to f32, or f32 to f32. On CUDA begin is 0.
struct CastArgs {
  const void* a = nullptr;
  DType from = DType::f32;
  void* out = nullptr;
  DType to = DType::f32;
  int64_t begin = 0, end = 0;
};

}  // namespace rubricate
