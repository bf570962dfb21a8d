// Division and rounding of sizes.
#pragma once

#include <cstdint>

namespace rubricate {

// a / b, rounded up. a: at least 0; b: at least 1; a + b must not overflow.
constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The least multiple of b that is at least a; as for ceil_div().
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

}  // namespace rubricate
