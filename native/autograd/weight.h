// A matrix of a model with what keeps its memory alive, and the place of its gradient where it is trained.
#pragma once

#include <memory>

#include "autograd/var.h"
#include "tensor/tensor.h"
#include "tensor/weight_view.h"

namespace rubricate {

// `gradient` is null where the weight is frozen; else it takes the fp32 gradient, [rows, cols].
struct Weight {
  WeightView view;
  Tensor storage;  // keeps the memory alive
  std::shared_ptr<GradSlot> gradient;

  bool defined() const { return view.data != nullptr; }
  static Weight of(const Tensor& matrix);  // [rows, cols]
};

}  // namespace rubricate
