// The location of a checkpoint's tensor.
#pragma once

#include <cstdint>
#include <memory>

#include "base/dtype.h"
#include "files/mapped_file.h"
#include "tensor/tensor.h"

namespace rubricate {

// A checkpoint's tensor in place; `owner` keeps its memory alive. A vector, or a matrix [rows, cols].
struct TensorSource {
  DType dtype = DType::f32;
  Shape shape;
  const void* data = nullptr;
  std::shared_ptr<void> owner;
  std::shared_ptr<const MappedFile> file{};  // the mapped file; null if the tensor is in memory
  // 0: rows lie one after the other. Otherwise the transpose is stored, perhaps as a part of a wider matrix: element
  // [r, c] is c * column_stride + r elements from `data`.
  int64_t column_stride = 0;

  bool in_order() const { return column_stride == 0; }
  // The place of an element, counted row by row.
  const void* element(int64_t index) const;
};

// The tensor with its rows one after the other: a view if it is stored so, else a copy in `arena`, which must be of the
// CPU.
Tensor in_order(const TensorSource& source, const std::shared_ptr<Arena>& arena);

}  // namespace rubricate
