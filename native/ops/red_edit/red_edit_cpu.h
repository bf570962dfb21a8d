// Kernels of the RED edit.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace rubricate {

// y[t, j] = fma(scale[j], h[t, j], bias[j]) for rows [begin, end), which share one slot.
struct EditRowsArgs {
  DType dtype = DType::f32;  // of h and y: f32 or bf16
  int64_t cols = 0;
  int64_t begin = 0, end = 0;
  const void* h = nullptr;
  const float* scale = nullptr;  // null: 1
  const float* bias = nullptr;   // null: 0
  void* y = nullptr;
};
void red_edit_rows_cpu(const EditRowsArgs& args);

}  // namespace rubricate
