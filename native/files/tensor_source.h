// The location of a checkpoint's tensor.
#pragma once

#include <memory>

#include "base/dtype.h"
#include "files/mapped_file.h"
#include "tensor/tensor.h"

namespace rubricate {

// A checkpoint's tensor in place; `owner` keeps its memory alive.
struct TensorSource {
  DType dtype = DType::f32;
  Shape shape;
  const void* data = nullptr;
  std::shared_ptr<void> owner;
  std::shared_ptr<const MappedFile> file{};  // the mapped file; null if the tensor is in memory
};

}  // namespace rubricate
