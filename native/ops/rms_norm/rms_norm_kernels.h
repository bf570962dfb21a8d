// Kernels of RMSNorm over rows [begin, end): their arguments, on every device, and the entry points of the CPU kernels.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "ops/slots/slots_kernels.h"

namespace rubricate {

// "rms_norm_forward/1", "rms_norm_backward/1". On CUDA begin is 0.
struct RmsNormArgs {
  DType dtype = DType::f32;  // of x, y, grad and dx: f32 or bf16
  int64_t cols = 0;
  int64_t begin = 0, end = 0;
  const void* x = nullptr;
  const float* weight = nullptr;
  float eps = 0.0f;
  float* inv = nullptr;        // [T] 1 / rms: written by the forward if given, read by the backward
  void* y = nullptr;           // forward
  const void* grad = nullptr;  // backward
  void* dx = nullptr;          // backward
};

// "rms_norm_slots_forward/1", "rms_norm_slots_backward/1": all rows, each with its slot's weight, or all.weight where the
// slot has none.
struct RmsNormSlotsArgs {
  RmsNormArgs all;
  SlotRows rows;
  SlotTable<const float*> weight;
};

void rms_norm_forward_cpu(const RmsNormArgs& args);
void rms_norm_backward_cpu(const RmsNormArgs& args);

}  // namespace rubricate
