#include "tensor/tensor.h"

#include <cstring>

#include "device/stream.h"

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
  set_zero(tensor);
  return tensor;
}

void set_zero(const Tensor& tensor) {
  if (Stream* stream = tensor.stream())
    stream->fill(tensor.raw(), 0, tensor.bytes());
  else
    std::memset(tensor.raw(), 0, static_cast<size_t>(tensor.bytes()));
}

Tensor Tensor::from_host(const std::shared_ptr<Arena>& arena, Shape shape, DType dtype, const void* data) {
  Tensor tensor = empty(arena, std::move(shape), dtype);
  if (Stream* stream = arena->stream())
    stream->upload(tensor.raw(), data, tensor.bytes());
  else if (tensor.count() > 0)
    std::memcpy(tensor.raw(), data, static_cast<size_t>(tensor.bytes()));
  return tensor;
}

Tensor Tensor::copied_to(const std::shared_ptr<Arena>& arena) const {
  Tensor tensor = empty(arena, shape_, dtype_);
  copy_elements(tensor, *this);
  return tensor;
}

Tensor Tensor::on_cpu() const { return stream() == nullptr ? *this : copied_to(std::make_shared<Arena>()); }

void copy_elements(const Tensor& to, const Tensor& from) {
  require(to.count() == from.count() && to.dtype() == from.dtype(), "ERR_INTERNAL", "Expected ",
          shape_text(from.shape()), " of ", dtype_name(from.dtype()), " to copy to but received ",
          shape_text(to.shape()), " of ", dtype_name(to.dtype()));
  if (to.count() == 0) return;
  Stream *target = to.stream(), *source = from.stream();
  if (target == nullptr && source == nullptr) {
    std::memcpy(to.raw(), from.raw(), static_cast<size_t>(to.bytes()));
  } else if (source == nullptr) {
    target->upload(to.raw(), from.raw(), to.bytes());
  } else if (target == nullptr) {
    source->download(to.raw(), from.raw(), to.bytes());
  } else if (target == source) {
    target->copy(to.raw(), from.raw(), to.bytes());
  } else {  // two streams, maybe of two devices: through CPU memory
    std::vector<char> bytes(static_cast<size_t>(to.bytes()));
    source->download(bytes.data(), from.raw(), from.bytes());
    target->upload(to.raw(), bytes.data(), to.bytes());
  }
}

Tensor Tensor::borrow(std::shared_ptr<void> owner, void* data, Shape shape, DType dtype) {
  Tensor tensor;
  tensor.count_ = element_count(shape);
  tensor.shape_ = std::move(shape);
  tensor.dtype_ = dtype;
  tensor.storage_ = std::make_shared<Storage>(std::move(owner), data, tensor.bytes());
  return tensor;
}

Tensor Tensor::part(int64_t begin, Shape shape) const {
  const int64_t count = element_count(shape);
  require(begin >= 0 && begin <= count_ && count <= count_ - begin, "ERR_INTERNAL", "Expected a part of ", count_,
          " elements but received ", count, " from ", begin);
  Tensor tensor = *this;
  tensor.count_ = count;
  tensor.shape_ = std::move(shape);
  tensor.storage_ = std::make_shared<Storage>(storage_, begin * dtype_size(dtype_), tensor.bytes());
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
