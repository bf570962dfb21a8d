// Kernels of SwiGLU over [begin, end) of flat arrays.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace rubricate {

struct SwigluArgs {
  DType dtype = DType::f32;  // of every array: f32 or bf16
  const void* gate = nullptr;
  const void* up = nullptr;
  void* y = nullptr;           // forward
  const void* grad = nullptr;  // backward
  void* dgate = nullptr;       // backward; null where not wanted
  void* dup = nullptr;         // backward; null where not wanted
  int64_t begin = 0, end = 0;
};
void swiglu_forward_cpu(const SwigluArgs& args);
void swiglu_backward_cpu(const SwigluArgs& args);

}  // namespace rubricate
