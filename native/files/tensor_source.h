// Where a tensor of a checkpoint lies.
#pragma once

#include <memory>

#include "base/dtype.h"
#include "files/mapped_file.h"
#include "tensor/tensor.h"

namespace rubricate {

// A tensor of a checkpoint where it lies; `owner` keeps the memory.
struct TensorSource {
  DType dtype = DType::f32;
  Shape shape;
  const void* data = nullptr;
  std::shared_ptr<void> owner;
  std::shared_ptr<const MappedFile> file{};  // that it is mapped from; null where it is in memory
};

}  // namespace rubricate
