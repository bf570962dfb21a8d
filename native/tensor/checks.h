// Checks of tensor arguments.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "tensor/tensor.h"

namespace rubricate {

// A tensor of f32 or bf16. Throws ERR_ARGUMENT if it is undefined, ERR_DTYPE for another dtype.
inline void require_floating(const Tensor& tensor, const char* name) {
  require(tensor.defined(), "ERR_ARGUMENT", "Expected a tensor for ", name, " but received none");
  require(tensor.dtype() == DType::f32 || tensor.dtype() == DType::bf16, "ERR_DTYPE",
          "Expected float32 or bfloat16 for ", name, " but received ", dtype_name(tensor.dtype()));
}

// Throws ERR_ARGUMENT, ERR_SHAPE or ERR_DTYPE if `tensor` does not have the shape and dtype of `model`.
inline void require_like(const Tensor& tensor, const Tensor& model, const char* name) {
  require(tensor.defined(), "ERR_ARGUMENT", "Expected a tensor for ", name, " but received none");
  require(tensor.shape() == model.shape(), "ERR_SHAPE", "Expected shape ", shape_text(model.shape()), " for ", name,
          " but received ", shape_text(tensor.shape()));
  require(tensor.dtype() == model.dtype(), "ERR_DTYPE", "Expected ", dtype_name(model.dtype()), " for ", name,
          " but received ", dtype_name(tensor.dtype()));
}

// An fp32 tensor. Throws ERR_ARGUMENT or ERR_DTYPE.
inline void require_f32(const Tensor& tensor, const char* name) {
  require(tensor.defined(), "ERR_ARGUMENT", "Expected a tensor for ", name, " but received none");
  require(tensor.dtype() == DType::f32, "ERR_DTYPE", "Expected float32 for ", name, " but received ",
          dtype_name(tensor.dtype()));
}

// An fp32 vector [width]. Throws ERR_ARGUMENT, ERR_SHAPE or ERR_DTYPE.
inline void require_vector(const Tensor& tensor, int64_t width, const char* name) {
  require(tensor.defined(), "ERR_ARGUMENT", "Expected a tensor for ", name, " but received none");
  require(tensor.rank() == 1 && tensor.dim(0) == width, "ERR_SHAPE", "Expected shape [", width, "] for ", name,
          " but received ", shape_text(tensor.shape()));
  require(tensor.dtype() == DType::f32, "ERR_DTYPE", "Expected float32 for ", name, " but received ",
          dtype_name(tensor.dtype()));
}

}  // namespace rubricate
