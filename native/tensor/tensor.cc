#include "tensor/tensor.h"

#include <cstring>

namespace rubricate {

int64_t element_count(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t n : shape) {
    require(n >= 0, "ERR_SHAPE", "Expected sizes of 0 or more for shape but received ", shape_text(shape));
    require(!__builtin_mul_overflow(count, n, &count) && count < int64_t{1} << 44, "ERR_SHAPE",
            "Expected fewer than 2^44 elements for shape but received ", shape_text(shape));
  }
  return count;
}

std::string shape_text(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

Tensor Tensor::empty(const std::shared_ptr<Arena>& arena, Shape shape, DType dtype) {
  Tensor tensor;
  tensor.count_ = element_count(shape);
  tensor.shape_ = std::move(shape);
  tensor.dtype_ = dtype;
  tensor.storage_ = std::make_shared<Storage>(arena, tensor.bytes());
  return tensor;
}

Tensor Tensor::zeros(const std::shared_ptr<Arena>& arena, Shape shape, DType dtype) {
  Tensor tensor = empty(arena, std::move(shape), dtype);
  std::memset(tensor.raw(), 0, static_cast<size_t>(tensor.bytes()));
  return tensor;
}

Tensor Tensor::borrow(std::shared_ptr<void> owner, void* data, Shape shape, DType dtype) {
  Tensor tensor;
  tensor.count_ = element_count(shape);
  tensor.shape_ = std::move(shape);
  tensor.dtype_ = dtype;
  tensor.storage_ = std::make_shared<Storage>(std::move(owner), data, tensor.bytes());
  return tensor;
}

Tensor Tensor::reshaped(Shape shape) const {
  require(element_count(shape) == count_, "ERR_SHAPE", "Expected a shape of ", count_, " elements but received ",
          shape_text(shape));
  Tensor tensor = *this;
  tensor.shape_ = std::move(shape);
  return tensor;
}

}  // namespace rubricate
