// Transposes a matrix of the CPU's memory.
#pragma once

#include <cstdint>

namespace rubricate {

// to[r, c] = from[c, r] for r < rows, c < cols. from: `cols` stored rows, each `stride` elements after the one before;
// to: [rows, cols], row-major. element_size: 2 or 4 bytes; any alignment.
void transpose(const void* from, int64_t stride, void* to, int64_t rows, int64_t cols, int64_t element_size);

}  // namespace rubricate
