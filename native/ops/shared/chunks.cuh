// Copies of 16-byte chunks to shared memory, and stores of neighbours, for matrices that may end within a chunk or
// whose addresses do not allow 16-byte accesses.
#pragma once

#include "device/cuda/kernel.h"

namespace rubricate::cuda {

constexpr int kCopyChunk = 8;  // elements of 2 bytes

// The first `left` elements (fewer than a chunk, or not aligned), then zeros.
template <typename T>
__device__ __noinline__ uint4 part_of_chunk(const T* from, int64_t left) {
  uint32_t words[4] = {};
  for (int i = 0; i < kCopyChunk; ++i)
    if (i < left) words[i / 2] |= static_cast<uint32_t>(from[i].bits) << 16 * (i % 2);
  return make_uint4(words[0], words[1], words[2], words[3]);
}

// Fills the chunk at `to` with the elements at `from`, then zeros. `left` of them exist (if none, `from` is not read).
// aligned: `from` is aligned to 16 bytes. Must be followed by copy_async_wait and a barrier, like copy_async_16.
template <typename T>
__device__ __forceinline__ void copy_chunk(T* to, const T* from, int64_t left, bool aligned) {
  static_assert(sizeof(T) == 2);
  if (left <= 0 || (aligned && left >= kCopyChunk))
    copy_async_16(to, from, left > 0);
  else
    store_16_shared(to, part_of_chunk(from, left));
}

// Two neighbours of a row, only `left` of which may exist; `whole`: if both exist they may be stored in one access.
template <typename T>
__device__ __forceinline__ void store_two(T* to, float x, float y, int64_t left, bool whole) {
  if (whole && left >= 2) {
#if defined(RUBRICATE_EMULATED)
    emulation::check_aligned(to, 2 * sizeof(T));
#else
    if constexpr (sizeof(T) == 4)
      *reinterpret_cast<float2*>(to) = make_float2(x, y);
    else
      *reinterpret_cast<uint32_t*>(to) = narrow_pair<T>(x, y);
    return;
#endif
  }
  if (left >= 1) to[0] = narrow<T>(x);
  if (left >= 2) to[1] = narrow<T>(y);
}

}  // namespace rubricate::cuda
