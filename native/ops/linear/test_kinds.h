// The dtypes that the tests of products loop over: of A or x, of B or W, and of the result.
#pragma once

#include "base/dtype.h"

namespace rubricate::testing {

struct Kind {
  DType a, b, c;
};
inline constexpr Kind kKinds[] = {{DType::f32, DType::f32, DType::f32},   {DType::bf16, DType::bf16, DType::bf16},
                                  {DType::f32, DType::bf16, DType::f32},  {DType::bf16, DType::f32, DType::bf16},
                                  {DType::bf16, DType::bf16, DType::f32}, {DType::f32, DType::f16, DType::f32},
                                  {DType::bf16, DType::f16, DType::bf16}};

}  // namespace rubricate::testing
