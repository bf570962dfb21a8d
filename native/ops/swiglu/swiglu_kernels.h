// Kernels of SwiGLU over [begin, end) of flat arrays: their arguments, on every device, and the CPU entry points.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace rubricate {

// "swiglu_forward/1", "swiglu_backward/1". On CUDA begin is 0 and the arrays are aligned to 16 bytes.
struct SwigluArgs {
  DType dtype = DType::f32;  // of every array: f32 or bf16
  const void* gate = nullptr;
  const void* up = nullptr;
  void* y = nullptr;           // forward
  const void* grad = nullptr;  // backward
  void* dgate = nullptr;       // backward; null if not required
  void* dup = nullptr;         // backward; null if not required
  int64_t begin = 0, end = 0;
};

void swiglu_forward_cpu(const SwigluArgs& args);
void swiglu_backward_cpu(const SwigluArgs& args);

}  // namespace rubricate
