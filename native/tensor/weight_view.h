// A model's matrix in place: in a mapped file at any alignment, or in memory. Kernels read it in its stored dtype. To
// add a storage format, add a dtype here and code for it in all readers of weights: the packer of `linear`
// (pack_panels), its kernels for few rows, and the embedding.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace rubricate {

struct WeightView {
  const void* data = nullptr;  // any alignment
  DType dtype = DType::f32;    // f32, bf16 or f16
  int64_t rows = 0;            // outputs of a linear layer
  int64_t cols = 0;            // inputs
  int64_t row_stride = 0;      // elements from one row to the next

  const void* row(int64_t r) const { return static_cast<const char*>(data) + r * row_stride * dtype_size(dtype); }
};

}  // namespace rubricate
