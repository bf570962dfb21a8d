// A model's matrix: a view, the storage that keeps it alive, and its gradient slot if it is trained.
#pragma once

#include <memory>

#include "autograd/var.h"
#include "tensor/tensor.h"
#include "tensor/weight_view.h"

namespace rubricate {

// `gradient` is null for a frozen weight; otherwise the slot of the fp32 gradient, [rows, cols].
struct Weight {
  WeightView view;
  Tensor storage;  // keeps the memory alive
  std::shared_ptr<GradSlot> gradient;

  bool defined() const { return view.data != nullptr; }
  static Weight of(const Tensor& matrix);  // [rows, cols]
};

}  // namespace rubricate
