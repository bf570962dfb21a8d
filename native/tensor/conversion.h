// Converts n elements from one floating-point dtype to another, rounding to nearest even. Any alignment on both sides.
#pragma once

#include <cstdint>
#include <functional>

#include "base/dtype.h"
#include "tensor/tensor.h"

namespace rubricate {

void convert(const void* source, DType source_dtype, void* destination, DType destination_dtype, int64_t count);

// The same for two tensors of equal count on any devices. From the CPU to a device it works in pieces; on a device one
// of the dtypes must be f32, or both the same. moved: called after each piece with its bytes in `from`; an exception
// from it ends the conversion. Errors: ERR_INTERNAL for different counts, ERR_DTYPE.
void convert_elements(const Tensor& to, const Tensor& from, const std::function<void(int64_t bytes)>& moved = {});

}  // namespace rubricate
