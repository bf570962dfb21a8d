// In-place addition, with which the tape accumulates gradients.
//
//   destination += source
//
// Not an op: it records nothing and has no backward. The op `add` (ops/elementwise) returns a new tensor.
#pragma once

#include "tensor/tensor.h"

namespace rubricate {

// Both: f32 or bf16, same shape, dtype, device and stream. The CPU computes in chunks on the pool, a device with the
// kernel "elementwise/1". Each sum is computed in fp32 and rounded once to the dtype. Errors: ERR_ARGUMENT if one is
// undefined; ERR_SHAPE, ERR_DTYPE if they differ; ERR_DTYPE for another dtype; ERR_FOREIGN for different devices or
// streams.
void add_in_place(const Tensor& destination, const Tensor& source);

}  // namespace rubricate
