// The sum of two tensors in the place of the first: how the tape adds gradients up.
//
//   destination += source
//
// It is no op: it records nothing and has no backward. The op `add` (ops/elementwise) makes a new tensor.
#pragma once

#include "tensor/tensor.h"

namespace rubricate {

// Both: f32 or bf16, same shape and dtype, in the memory of one place, which computes the sum: on the CPU in chunks on
// the pool, on a device with the kernel "elementwise/1". Each sum is formed in fp32 and rounded once to the dtype.
// Errors: ERR_ARGUMENT where one is undefined; ERR_SHAPE, ERR_DTYPE where they differ, ERR_DTYPE for another dtype;
// ERR_FOREIGN where they lie in different places.
void add_in_place(const Tensor& destination, const Tensor& source);

}  // namespace rubricate
