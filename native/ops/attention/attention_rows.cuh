// Addresses of the rows of attention's operands, for its kernels on a device.
#pragma once

#include "device/cuda/kernel.h"
#include "ops/attention/attention_kernels.h"

namespace rubricate::cuda {

// Sizes for index arithmetic, in the cheapest widths.
struct HeadSizes {
  int32_t heads, kv_heads, head_dim, group;
  int32_t window;           // only of kernels with kWindow
  uint32_t group_fraction;  // 2^32 / group, rounded up; 0 for a group of 1
};
inline HeadSizes head_sizes(const AttentionShape& shape) {
  const int64_t group = shape.heads / shape.kv_heads;
  return {static_cast<int32_t>(shape.heads),
          static_cast<int32_t>(shape.kv_heads),
          static_cast<int32_t>(shape.head_dim),
          static_cast<int32_t>(group),
          static_cast<int32_t>(shape.window),
          group == 1 ? 0 : static_cast<uint32_t>(((int64_t{1} << 32) + group - 1) / group)};
}

// row / group, without a division: exact for rows below 2^32 / group, as group_fraction is less than 1 too large.
__device__ __forceinline__ int position_of(const HeadSizes& sizes, int row) {
  const uint64_t product = static_cast<uint64_t>(static_cast<uint32_t>(row)) * sizes.group_fraction;
  return sizes.group == 1 ? row : static_cast<int>(product >> 32);
}

// The first key that the query at a position sees. kWindow: the variant of a kernel for a shape with a window.
template <bool kWindow>
__device__ __forceinline__ int first_key(const HeadSizes& sizes, int position) {
  return kWindow ? max(0, position - sizes.window + 1) : 0;
}
// The query rows of a tile's sequence that see one of its keys up to `key`: all before the result.
template <bool kWindow>
__device__ __forceinline__ int rows_up_to(const AttentionTile& tile, const HeadSizes& sizes, int key) {
  return (kWindow ? min(tile.count, key + sizes.window) : tile.count) * sizes.group;
}

// Offset in [T, heads] of query row `row` of a tile's sequence.
__device__ __forceinline__ int64_t query_offset(const AttentionTile& tile, const HeadSizes& sizes, int kv_head,
                                                int row) {
  return static_cast<int64_t>(tile.start + row / sizes.group) * sizes.heads + kv_head * sizes.group + row % sizes.group;
}
__device__ __forceinline__ int query_rows(const AttentionTile& tile, const HeadSizes& sizes) {
  return tile.count * sizes.group;
}

// Consecutive rows of keys (or values).
template <typename T>
struct KeyRows {
  const T *k, *v;
  int32_t stride;  // elements from one key to the next
};

// The source of keys: the batch's rows, or pages.
template <typename T>
struct KeySource {
  const T *k, *v;
  const void* const* pages;
  int64_t pages_per_sequence;

  // Rows from key `base` of the sequence on; base is a multiple of kKeyBlock. With pages only its block may be read.
  __device__ __forceinline__ KeyRows<T> rows(const AttentionTile& tile, const HeadSizes& sizes, int kv_head,
                                             int base) const {
    if (pages == nullptr) {
      const int64_t at = (static_cast<int64_t>(tile.start + base) * sizes.kv_heads + kv_head) * sizes.head_dim;
      return {k + at, v + at, sizes.kv_heads * sizes.head_dim};
    }
    const T* const page = static_cast<const T*>(pages[tile.sequence * pages_per_sequence + base / kKeyBlock]) +
                          static_cast<int64_t>(kv_head) * kKeyBlock * sizes.head_dim;
    return {page, page + static_cast<int64_t>(sizes.kv_heads) * kKeyBlock * sizes.head_dim, sizes.head_dim};
  }
};

}  // namespace rubricate::cuda
