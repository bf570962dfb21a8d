// Kernels of LayerNorm: their arguments, and the entry points of the CPU kernels.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "ops/slots/slots_kernels.h"

namespace rubricate {

struct LayerNormArgs {
  DType dtype = DType::f32;  // of x, y, grad and dx: f32 or bf16
  int64_t cols = 0;
  int64_t begin = 0, end = 0;  // rows; on the CPU they share one slot
  const void* x = nullptr;
  const float* weight =
      nullptr;                  // null: rows are copied unchanged; on a device, of the slots that have none, like bias
  const float* bias = nullptr;  // null: 0
  float eps = 0.0f;
  float* mean = nullptr;       // [T]: written by the forward if given, read by the backward
  float* inv = nullptr;        // [T] 1 / sqrt(var + eps): the same
  void* y = nullptr;           // forward
  const void* grad = nullptr;  // backward
  void* dx = nullptr;          // backward
};

// "layer_norm_forward/1", "layer_norm_backward/1": all rows, each with its slot's vectors.
struct LayerNormSlotsArgs {
  LayerNormArgs all;
  SlotRows rows;
  SlotTable<const float*> weight, bias;
};

// Rows [begin, end), which share one slot.
void layer_norm_forward_cpu(const LayerNormArgs& args);
void layer_norm_backward_cpu(const LayerNormArgs& args);

}  // namespace rubricate
