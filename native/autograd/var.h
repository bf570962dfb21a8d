// A value that the tape may differentiate. The gradient is stored apart from the value, so an op can keep the
// gradient's slot for its backward without keeping the value.
#pragma once

#include <cstdint>
#include <memory>

#include "tensor/tensor.h"

namespace rubricate {

struct GradSlot {
  Tensor grad;               // undefined until the first contribution; same shape as the value
  DType dtype = DType::f32;  // the value's dtype; fp32 for parameters
  Shape shape;
  uint64_t tape = 0;      // the tape that made it; 0 for a parameter (a leaf)
  bool in_place = false;  // `grad` is a view of its owner's buffer: contributions are added in place
};

class Var {
 public:
  Var() = default;
  Var(Tensor value) : value_(std::move(value)) {}  // NOLINT: a tensor is a value without gradient
  Var(Tensor value, std::shared_ptr<GradSlot> slot) : value_(std::move(value)), slot_(std::move(slot)) {}

  // A leaf that requires a gradient. The gradient is fp32 and stays until the caller clears it.
  static Var parameter(Tensor value) {
    auto slot = std::make_shared<GradSlot>();
    slot->shape = value.shape();
    return {std::move(value), std::move(slot)};
  }

  bool defined() const { return value_.defined(); }
  const Tensor& value() const { return value_; }
  bool requires_grad() const { return slot_ != nullptr; }
  const std::shared_ptr<GradSlot>& slot() const { return slot_; }
  const Tensor& grad() const {
    static const Tensor none;
    return slot_ ? slot_->grad : none;
  }

 private:
  Tensor value_;
  std::shared_ptr<GradSlot> slot_;
};

}  // namespace rubricate
