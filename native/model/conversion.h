// Copies n elements from one floating-point storage to another, rounding to nearest even. Any alignment, both sides.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace rubricate {

void convert(const void* source, DType source_dtype, void* destination, DType destination_dtype, int64_t count);

}  // namespace rubricate
