// Copies n elements from one floating-point storage to another, rounding to nearest even. Any alignment, both sides.
#pragma once

#include <cstdint>
#include <functional>

#include "base/dtype.h"
#include "tensor/tensor.h"

namespace rubricate {

void convert(const void* source, DType source_dtype, void* destination, DType destination_dtype, int64_t count);

// The same for tensors of one count, wherever the two are. From the CPU to a device it goes piece by piece; on a device
// one of the dtypes is f32 or both are the same. moved: called after each piece with its bytes in `from`; what it
// throws ends the conversion. Errors: ERR_INTERNAL for counts that differ, ERR_DTYPE.
void convert_elements(const Tensor& to, const Tensor& from, const std::function<void(int64_t bytes)>& moved = {});

}  // namespace rubricate
