#include "autograd/weight.h"

namespace rubricate {

Weight Weight::of(const Tensor& matrix) {
  require(matrix.rank() == 2, "ERR_SHAPE", "Expected a matrix for weight but received shape ",
          shape_text(matrix.shape()));
  require(matrix.dtype() != DType::i32, "ERR_DTYPE", "Expected a floating-point matrix for weight but received int32");
  return {{matrix.raw(), matrix.dtype(), matrix.dim(0), matrix.dim(1), matrix.dim(1)}, matrix, nullptr};
}

}  // namespace rubricate
