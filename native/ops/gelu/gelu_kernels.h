// Kernels of GELU over [begin, end) of flat arrays: their arguments, on every device, and the CPU entry points.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace rubricate {

enum class GeluKind : int32_t { exact = 0, tanh };

// "gelu_forward/1", "gelu_backward/1". On CUDA begin is 0 and the arrays are aligned to 16 bytes.
struct GeluArgs {
  DType dtype = DType::f32;  // of every array: f32 or bf16
  GeluKind kind = GeluKind::exact;
  const void* x = nullptr;
  void* y = nullptr;           // forward
  const void* grad = nullptr;  // backward
  void* dx = nullptr;          // backward
  int64_t begin = 0, end = 0;
};

void gelu_forward_cpu(const GeluArgs& args);
void gelu_backward_cpu(const GeluArgs& args);

}  // namespace rubricate
