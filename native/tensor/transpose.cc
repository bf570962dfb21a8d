#include "tensor/transpose.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/integers.h"
#include "device/cpu/thread_pool.h"

namespace rubricate {
namespace {

constexpr int64_t kTile = 32;  // rows and columns: a tile of either matrix is 32 cache lines at most

template <int64_t kBytes>
void transpose_rows(const char* from, int64_t stride, char* to, int64_t begin, int64_t end, int64_t cols) {
  for (int64_t column = 0; column < cols; column += kTile)
    for (int64_t c = column; c < std::min(cols, column + kTile); ++c)
      for (int64_t r = begin; r < end; ++r)
        std::memcpy(to + (r * cols + c) * kBytes, from + (c * stride + r) * kBytes, kBytes);
}

}  // namespace

void transpose(const void* from, int64_t stride, void* to, int64_t rows, int64_t cols, int64_t element_size) {
  require(element_size == 2 || element_size == 4, "ERR_INTERNAL", "Expected elements of 2 or 4 bytes but received ",
          element_size);
  const auto* const source = static_cast<const char*>(from);
  auto* const destination = static_cast<char*>(to);
  const int64_t tiles = ceil_div(rows, kTile);
  parallel_ranges(tiles, 1, [&](int64_t first, int64_t last) {
    for (int64_t tile = first; tile < last; ++tile) {
      const int64_t begin = tile * kTile, end = std::min(rows, begin + kTile);
      element_size == 2 ? transpose_rows<2>(source, stride, destination, begin, end, cols)
                        : transpose_rows<4>(source, stride, destination, begin, end, cols);
    }
  });
}

}  // namespace rubricate
