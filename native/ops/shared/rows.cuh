// Helpers of row-wise kernels: how a row [cols] is spread over a block, in chunks of 8 elements, and sums over it.
//
// Thread i of a block has chunks i, i + threads, i + 2 threads ... A row's sums run over a thread's elements in order,
// then over the lanes of a warp, then over the warps. The order depends only on the number of columns, so the result
// depends neither on dtype, alignment nor other rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "device/cuda/kernel.h"

namespace rubricate::cuda {

constexpr int kRowChunk = 8;  // elements: 16 bytes of bf16, twice 16 of fp32

// 8 elements in their memory format, so that a row in registers takes no more space than in memory.
template <typename T>
struct Packed {
  static constexpr int kWords = kRowChunk * static_cast<int>(sizeof(T)) / 16;
  uint4 words[kWords];
};

template <typename T>
__device__ __forceinline__ void unpack(const Packed<T>& packed, float (&values)[kRowChunk]) {
#pragma unroll
  for (int w = 0; w < Packed<T>::kWords; ++w) {
    float part[kLanes<T>];
    unpack_16<T>(packed.words[w], part);
#pragma unroll
    for (int i = 0; i < kLanes<T>; ++i) values[w * kLanes<T> + i] = part[i];
  }
}
template <typename T>
__device__ __forceinline__ Packed<T> pack(const float (&values)[kRowChunk]) {
  Packed<T> packed;
#pragma unroll
  for (int w = 0; w < Packed<T>::kWords; ++w) {
    float part[kLanes<T>];
#pragma unroll
    for (int i = 0; i < kLanes<T>; ++i) part[i] = values[w * kLanes<T> + i];
    packed.words[w] = pack_16<T>(part);
  }
  return packed;
}

// base + offset, or null.
template <typename T>
__device__ __forceinline__ T* at(void* base, int64_t offset) {
  return base != nullptr ? static_cast<T*>(base) + offset : nullptr;
}
template <typename T>
__device__ __forceinline__ const T* at(const void* base, int64_t offset) {
  return base != nullptr ? static_cast<const T*>(base) + offset : nullptr;
}

// Whole chunks at addresses aligned to 16 bytes. `once`: these lines are not read again soon.
template <typename T>
__device__ __forceinline__ Packed<T> load_packed(const T* from) {
  Packed<T> packed;
#pragma unroll
  for (int w = 0; w < Packed<T>::kWords; ++w) packed.words[w] = load_16(from + w * kLanes<T>);
  return packed;
}
template <typename T>
__device__ __forceinline__ Packed<T> load_packed_once(const T* from) {
  Packed<T> packed;
#pragma unroll
  for (int w = 0; w < Packed<T>::kWords; ++w) packed.words[w] = load_16_once(from + w * kLanes<T>);
  return packed;
}
template <typename T>
__device__ __forceinline__ void store_packed(T* to, const Packed<T>& packed) {
#pragma unroll
  for (int w = 0; w < Packed<T>::kWords; ++w) store_16(to + w * kLanes<T>, packed.words[w]);
}

// `left` elements of any alignment, one by one; missing ones are 0.
template <typename T>
__device__ __forceinline__ void load_some(const T* from, int64_t left, float (&values)[kRowChunk]) {
#pragma unroll
  for (int i = 0; i < kRowChunk; ++i) values[i] = i < left ? widen(from[i]) : 0.0f;
}
template <typename T>
__device__ __forceinline__ void store_some(T* to, int64_t left, const float (&values)[kRowChunk]) {
#pragma unroll
  for (int i = 0; i < kRowChunk; ++i)
    if (i < left) to[i] = narrow<T>(values[i]);
}

// Loads or stores a chunk; kWhole: it is aligned and complete.
template <bool kWhole, typename T>
__device__ __forceinline__ void load_chunk(const T* from, int64_t left, float (&values)[kRowChunk]) {
  if constexpr (kWhole)
    unpack(load_packed(from), values);
  else
    load_some(from, left, values);
}
template <bool kWhole, typename T>
__device__ __forceinline__ void store_chunk(T* to, int64_t left, const float (&values)[kRowChunk]) {
  if constexpr (kWhole)
    store_packed(to, pack<T>(values));
  else
    store_some(to, left, values);
}
// kLanes<T> elements of a flat array, or the `left` that remain; kAligned: addresses are aligned to 16 bytes.
template <bool kAligned, typename T>
__device__ __forceinline__ void load_lanes(const T* from, int64_t left, float (&values)[kLanes<T>]) {
  if constexpr (kAligned) {
    load_vector_upto(from, left, values);
  } else {
#pragma unroll
    for (int i = 0; i < kLanes<T>; ++i) values[i] = i < left ? widen(from[i]) : 0.0f;
  }
}
template <bool kAligned, typename T>
__device__ __forceinline__ void store_lanes(T* to, int64_t left, const float (&values)[kLanes<T>]) {
  if constexpr (kAligned) {
    store_vector_upto(to, left, values);
  } else {
#pragma unroll
    for (int i = 0; i < kLanes<T>; ++i)
      if (i < left) to[i] = narrow<T>(values[i]);
  }
}
// The value after rounding to T.
template <typename T>
__device__ __forceinline__ void round_to(float (&values)[kRowChunk]) {
#pragma unroll
  for (int i = 0; i < kRowChunk; ++i) values[i] = widen(narrow<T>(values[i]));
}

// Chunks of a row that each thread keeps in registers, and threads. Rows of more than 2,048 chunks, and rows whose
// chunks are not whole, are read from memory again (chunks 0 in a kernel's template), by the same threads in the same
// order.
struct RowShape {
  int chunks;
  int threads;
};
constexpr int kMostRowThreads = 512;
inline RowShape row_shape(int64_t cols) {
  const int64_t all = (cols + kRowChunk - 1) / kRowChunk;
  const int chunks = all <= 256 ? 1 : all <= 1024 ? 2 : 4;
  const int64_t threads = (all + chunks - 1) / chunks;
  return {chunks, static_cast<int>(std::clamp<int64_t>((threads + kWarpSize - 1) / kWarpSize * kWarpSize, kWarpSize,
                                                       kMostRowThreads))};
}
inline bool fits_registers(int64_t cols) { return cols <= int64_t{4} * kMostRowThreads * kRowChunk; }
// Launch bound for a kernel that keeps this number of chunks.
template <int kChunks>
inline constexpr int kRowThreads = kChunks == 1 ? 256 : kMostRowThreads;

// The sum over the block, returned to every thread. `partial`: shared, not used by anything else since the last
// barrier.
constexpr int kRowPartials = kMostRowThreads / kWarpSize;
__device__ __forceinline__ float row_sum(float x, float* partial) {
  x = warp_sum(x);
  if (lane_index() == 0) partial[warp_index()] = x;
  __syncthreads();
  const int warps = static_cast<int>(blockDim.x) / kWarpSize;
  float total = partial[0];
  for (int warp = 1; warp < warps; ++warp) total += partial[warp];
  return total;
}

// Calls body(k, column, left) for the thread's chunks: k counts them, `left` columns remain from `column` on.
template <int kChunks, typename Body>
__device__ __forceinline__ void for_chunks(int64_t cols, Body&& body) {
  if constexpr (kChunks > 0) {
#pragma unroll
    for (int k = 0; k < kChunks; ++k) {
      const int64_t column = (static_cast<int64_t>(threadIdx.x) + k * static_cast<int64_t>(blockDim.x)) * kRowChunk;
      if (column < cols) body(k, column, cols - column);
    }
  } else {
    const int64_t step = static_cast<int64_t>(blockDim.x) * kRowChunk;
    for (int64_t column = static_cast<int64_t>(threadIdx.x) * kRowChunk; column < cols; column += step)
      body(0, column, cols - column);
  }
}

// A row of T: in registers, or (with 0 chunks) its address, from which every pass reads.
template <typename T, int kChunks>
struct Row {
  Packed<T> chunks[kChunks];
  const T* from;
  __device__ __forceinline__ void fetch(const T* row, int64_t cols) {
    from = row;
    for_chunks<kChunks>(cols, [&](int k, int64_t column, int64_t) { chunks[k] = load_packed_once(row + column); });
  }
  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int k = 0; k < kChunks; ++k) chunks[k] = {};
  }
  __device__ __forceinline__ void get(int k, int64_t, int64_t, float (&values)[kRowChunk]) const {
    unpack(chunks[k], values);
  }
};
template <typename T>
struct Row<T, 0> {
  const T* from;
  __device__ __forceinline__ void fetch(const T* row, int64_t) { from = row; }
  __device__ __forceinline__ void clear() { from = nullptr; }
  __device__ __forceinline__ void get(int, int64_t column, int64_t left, float (&values)[kRowChunk]) const {
    load_some(from + column, left, values);
  }
};

// Calls body(std::integral_constant<int, kChunks>) with the kChunks that these rows need. aligned: every row allows
// 16-byte accesses.
template <typename Body>
int32_t for_row_shape(int64_t cols, bool aligned, Body&& body) {
  if (!aligned || cols % kRowChunk != 0 || !fits_registers(cols)) return body(std::integral_constant<int, 0>());
  switch (row_shape(cols).chunks) {
    case 1:
      return body(std::integral_constant<int, 1>());
    case 2:
      return body(std::integral_constant<int, 2>());
    default:
      return body(std::integral_constant<int, 4>());
  }
}

}  // namespace rubricate::cuda
