// A matrix of a model, where it lies: in a mapped file, or in memory when it is trained. A weight is a view with a
// packer: kernels reach its elements through `pack_panel` (ops/linear) alone, so that a new storage format is a new
// packer and never a new matmul.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "autograd/var.h"
#include "base/dtype.h"
#include "tensor/tensor.h"

namespace rubricate {

struct WeightView {
  const void* data = nullptr;  // any alignment
  DType dtype = DType::f32;    // f32, bf16 or f16
  int64_t rows = 0;            // outputs of a linear layer
  int64_t cols = 0;            // inputs
  int64_t row_stride = 0;      // elements from one row to the next

  const void* row(int64_t r) const { return static_cast<const char*>(data) + r * row_stride * dtype_size(dtype); }
};

// `gradient` is null where the weight is frozen; else it takes the fp32 gradient, [rows, cols].
struct Weight {
  WeightView view;
  Tensor storage;  // keeps the memory alive
  std::shared_ptr<GradSlot> gradient;

  bool defined() const { return view.data != nullptr; }
  static Weight of(const Tensor& matrix);  // [rows, cols]
};

}  // namespace rubricate
