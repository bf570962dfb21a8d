// Kernels of the RED edit: their arguments, and the entry point of the CPU kernel.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "ops/slots/slots_kernels.h"

namespace rubricate {

// On the CPU: y[t, j] = fma(scale[j], h[t, j], bias[j]) for rows [begin, end), which share one slot.
struct EditRowsArgs {
  DType dtype = DType::f32;  // of h and y: f32 or bf16
  int64_t cols = 0;
  int64_t begin = 0, end = 0;
  const void* h = nullptr;
  const float* scale = nullptr;  // null: 1
  const float* bias = nullptr;   // null: 0
  void* y = nullptr;
};

// "red_edit/1": the same for all rows, each with its slot's vectors. y may be h.
struct EditArgs {
  DType dtype = DType::f32;  // of h and y: f32 or bf16
  int64_t cols = 0;
  const void* h = nullptr;
  void* y = nullptr;
  SlotRows rows;
  SlotTable<const float*> scale, bias;
};

void red_edit_rows_cpu(const EditRowsArgs& args);

}  // namespace rubricate
