#include "files/tensor_source.h"

#include "tensor/transpose.h"

namespace rubricate {

const void* TensorSource::element(int64_t index) const {
  const int64_t cols = shape.empty() ? 1 : shape.back();
  const int64_t at = in_order() ? index : index % cols * column_stride + index / cols;
  return static_cast<const char*>(data) + at * dtype_size(dtype);
}

Tensor in_order(const TensorSource& source, const std::shared_ptr<Arena>& arena) {
  if (source.in_order())  // never written
    return Tensor::borrow(source.owner, const_cast<void*>(source.data), source.shape, source.dtype);
  Tensor copy = Tensor::empty(arena, source.shape, source.dtype);
  transpose(source.data, source.column_stride, copy.raw(), source.shape[0], source.shape[1], dtype_size(source.dtype));
  return copy;
}

}  // namespace rubricate
