// C = op(A) op(B) of 2-byte operands on tensor cores: bf16 by bf16, and bf16 by f16 (a weight stored as f16).
//
// A block computes a tile of kM x kN elements of C. Stages of kStep values of k of A and B are copied to shared memory
// with cp.async, several stages ahead. Warps read fragments with ldmatrix, transposing if k is not the contiguous
// direction. Chunks of 16 bytes are swizzled, so that the eight rows that an ldmatrix reads are in different banks.
//
// An element's sum is one chain of mma over k in steps of 16, from zero (or C): the same bits for every tile, so the
// tile may depend on M. k is never split.
//
// Operations: 2 M N K; a block reads (kM + kN) * K * 2 bytes for kM kN K multiply-adds, 32 a byte with tiles of 128. A
// warp of such a tile executes some 100 instructions a step, of them 32 mma (RESOURCES.md): by these counts tensor cores limit.
//
//   rows of C           tile       warps   stages   bytes in flight of a block
//   up to 16            16 x 32    1 x 2   12       33,792
//   few tiles of 128    64 x 64    2 x 2   4        24,576
//   the others          128 x 128  2 x 4   3        32,768
#pragma once

#include <type_traits>

#include "device/cuda/kernel.h"
#include "ops/linear/linear_kernels.h"
#include "ops/shared/chunks.cuh"

namespace rubricate::cuda {

constexpr int kStep = 32;        // values of k in a stage
constexpr int kRasterGroup = 8;  // tiles of rows whose tiles of columns are visited together, for the L2 cache

// A matrix as stored: `lines` of `length` contiguous elements.
template <typename T>
struct StoredMatrix {
  const T* data;
  int64_t stride, lines, length;
  bool chunks;  // data and stride allow 16-byte accesses
};

template <typename T>
StoredMatrix<T> stored_matrix(const void* data, int64_t stride, int64_t lines, int64_t length) {
  return {static_cast<const T*>(data), stride, lines, length,
          aligned_16(data) && stride % (16 / static_cast<int64_t>(sizeof(T))) == 0};
}

// The position of a chunk in a tile of `chunks` chunks per line (a power of two).
template <int chunks>
__device__ __forceinline__ int swizzled(int line, int chunk) {
  if constexpr (chunks >= 8) return line * chunks + (chunk ^ (line & 7));
  if constexpr (chunks == 4) return line * chunks + (chunk ^ (line >> 1 & 3));
  return line * chunks + (chunk ^ (line >> 2 & 1));
}

// Copies lines [line, line + kLines) and elements [at, at + kLength) to shared memory; zeros beyond the matrix.
template <int kLines, int kLength, int kThreads, typename T>
__device__ __forceinline__ void copy_tile(T* tile, const StoredMatrix<T>& from, int line, int at) {
  constexpr int chunks = kLength / kCopyChunk, all = kLines * chunks;
#pragma unroll 1  // for few registers: where addresses allow it, only a last step comes here
  for (int first = 0; first < all; first += kThreads) {
    const int i = first + static_cast<int>(threadIdx.x);
    const int row = line + i / chunks, element = at + i % chunks * kCopyChunk;
    T* const to = tile + swizzled<chunks>(i / chunks, i % chunks) * kCopyChunk;
    const int64_t left = row < from.lines ? from.length - element : 0;
    const T* const source = left > 0 ? from.data + (row * from.stride + element) : from.data;
    copy_chunk(to, source, left, from.chunks);
  }
}

// The same copies of whole steps along k, by a thread that computes its addresses once and then only adds to them.
template <int kLines, int kLength, int kThreads, bool kAlongK, typename T>
class TileCopy {
  static constexpr int kChunks = kLength / kCopyChunk, kLinesAtOnce = kThreads / kChunks;
  static constexpr int kTimes = kLines / kLinesAtOnce;
  // A swizzled position must not depend on which of the copies it is.
  static_assert(kThreads % kChunks == 0 && kLines % kLinesAtOnce == 0 && kLinesAtOnce % 8 == 0);

 public:
  // Of the tile from `index` on, at k = 0.
  __device__ __forceinline__ TileCopy(const StoredMatrix<T>& from, int index) {
    const int line = static_cast<int>(threadIdx.x) / kChunks, chunk = static_cast<int>(threadIdx.x) % kChunks;
    const int row = line + (kAlongK ? index : 0), element = chunk * kCopyChunk + (kAlongK ? 0 : index);
    to_ = swizzled<kChunks>(line, chunk) * kCopyChunk;
    next_ = from.data + (row * from.stride + element);
#pragma unroll
    for (int time = 0; time < kTimes; ++time)
      exists_[time] = kAlongK ? row + time * kLinesAtOnce < from.lines : element < from.length;
  }

  // Whether each chunk of a whole step is in the matrix or outside it, and can be copied in one access.
  static __device__ __forceinline__ bool fits(const StoredMatrix<T>& from, int index) {
    return from.chunks && (kAlongK || from.length % kCopyChunk == 0 || index + kLength <= from.length);
  }

  // Copies a step, and goes to the next. `from` is a kernel's argument: its stride takes no register.
  __device__ __forceinline__ void step(T* tile, const StoredMatrix<T>& from) {
#pragma unroll
    for (int time = 0; time < kTimes; ++time)
      copy_async_16(tile + to_ + time * kLinesAtOnce * kLength, next_ + time * kLinesAtOnce * from.stride,
                    exists_[time]);
    next_ += kAlongK ? kStep : kStep * from.stride;
  }

 private:
  const T* next_;
  int to_;
  bool exists_[kTimes];
};

// Four 8x8 matrices: 16 rows (or columns) of an operand, k to k + 15. order: which of the two halves varies first, that
// of the index (fragment of A) or that of k (two fragments of B). A lane's offsets in a tile are computed once.
template <int kSize, bool kAlongK, bool kIndexFirst>
class Fragments {
 public:
  // Of the rows from `index` on, which is a multiple of the number of rows that are loaded (a power of two).
  __device__ __forceinline__ explicit Fragments(int index) {
    const int lane = lane_index(), row = lane % 8, first = lane / 8 % 2 * 8, second = lane / 16 * 8;
    const int to_index = index + (kIndexFirst ? first : second), k = kIndexFirst ? second : first;
    offset_ = kAlongK ? swizzled<kStep / kCopyChunk>(to_index + row, k / kCopyChunk) * kCopyChunk
                      : swizzled<kSize / kCopyChunk>(k + row, to_index / kCopyChunk) * kCopyChunk;
  }

  // Those of the rows 16 i later. The swizzle is an exclusive or of the chunk, and so are steps of 16 within a line.
  template <typename T>
  __device__ __forceinline__ void load(uint32_t (&words)[4], const T* tile, int i, int k) const {
    if constexpr (kAlongK)
      load_matrices(words, tile + (offset_ ^ k) + 16 * i * kStep);
    else
      load_matrices_transposed(words, tile + (offset_ ^ 16 * i) + k * kSize);
  }

 private:
  int offset_;
};

// A pair of f16 as the exact sum of two pairs of bf16: 8 of the 11 significant bits, and the remainder.
__device__ __forceinline__ void split_f16(uint32_t pair, uint32_t& high, uint32_t& rest) {
  const float x = widen(f16{static_cast<uint16_t>(pair & 0xffffu)}), y = widen(f16{static_cast<uint16_t>(pair >> 16)});
  const uint32_t x_high = __float_as_uint(x) & 0xffff0000u, y_high = __float_as_uint(y) & 0xffff0000u;
  const float x_rest = x - __uint_as_float(x_high), y_rest = y - __uint_as_float(y_high);
  high = x_high >> 16 | y_high;
  rest = __float_as_uint(x_rest) >> 16 | (__float_as_uint(y_rest) & 0xffff0000u);
}

struct MatmulResult {
  int64_t m, n, k;
  void* c;
  int64_t stride;
  bool bf16_result, accumulate, pairs;  // pairs: two neighbours from an even column on may be stored in one access
  const float* bias;
};

// The tile of block `block`: groups of kRasterGroup tiles of rows, column by column.
__device__ __forceinline__ void tile_of_block(int64_t block, int64_t across, int64_t down, int64_t& row, int64_t& col) {
  const int64_t group = block / (kRasterGroup * across), first = group * kRasterGroup;
  const int64_t height = down - first < kRasterGroup ? down - first : kRasterGroup;
  const int64_t within = block - group * kRasterGroup * across;
  row = first + within % height;
  col = within / height;
}

template <typename TB, bool kATransposed, bool kBTransposed, int kM, int kN, int kWarpsM, int kWarpsN, int kStages>
__global__ void __launch_bounds__(kWarpsM* kWarpsN* kWarpSize, std::is_same_v<TB, f16> || kATransposed ? 1 : 2)
    matmul_tensor_cores(StoredMatrix<bf16> a, StoredMatrix<TB> b, MatmulResult result) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  // Devices without bf16 tensor cores run matmul_plain.
  __trap();
#else
  constexpr int kThreads = kWarpsM * kWarpsN * kWarpSize;
  constexpr int kRows = kM / kWarpsM, kCols = kN / kWarpsN;  // of a warp
  constexpr int kFragmentsM = kRows / 16, kFragmentsN = kCols / 8;
  constexpr int kStageA = kM * kStep, kStage = (kM + kN) * kStep;
  static_assert(kFragmentsN % 2 == 0 && sizeof(TB) == 2);
  RUBRICATE_DYNAMIC_SHARED(bf16, stages);

  int64_t tile_row, tile_col;
  tile_of_block(blockIdx.x, (result.n + kN - 1) / kN, (result.m + kM - 1) / kM, tile_row, tile_col);
  const int row0 = static_cast<int>(tile_row) * kM, col0 = static_cast<int>(tile_col) * kN;
  const int steps = static_cast<int>((result.k + kStep - 1) / kStep);
  const auto stage_a = [&](int stage) { return stages + stage * kStage; };
  const auto stage_b = [&](int stage) { return reinterpret_cast<TB*>(stage_a(stage) + kStageA); };
  TileCopy<kATransposed ? kStep : kM, kATransposed ? kM : kStep, kThreads, !kATransposed, bf16> copy_a(a, row0);
  TileCopy<kBTransposed ? kN : kStep, kBTransposed ? kStep : kN, kThreads, kBTransposed, TB> copy_b(b, col0);
  const int whole = copy_a.fits(a, row0) && copy_b.fits(b, col0) ? static_cast<int>(result.k / kStep) : 0;
  const auto fetch_whole = [&](int stage) {
    copy_a.step(stage_a(stage), a);
    copy_b.step(stage_b(stage), b);
    copy_async_commit();
  };
  const auto fetch = [&](int step, int stage) {
    if (step < whole) return fetch_whole(stage);
    const int k = step * kStep;
    if (step < steps) {
      if constexpr (kATransposed)
        copy_tile<kStep, kM, kThreads>(stage_a(stage), a, k, row0);
      else
        copy_tile<kM, kStep, kThreads>(stage_a(stage), a, row0, k);
      if constexpr (kBTransposed)
        copy_tile<kN, kStep, kThreads>(stage_b(stage), b, col0, k);
      else
        copy_tile<kStep, kN, kThreads>(stage_b(stage), b, k, col0);
    }
    copy_async_commit();
  };

  const int group = lane_index() / 4, quad = lane_index() % 4;
  const int warp_row = warp_index() / kWarpsN * kRows, warp_col = warp_index() % kWarpsN * kCols;
  const auto each_pair = [&](auto&& visit) {  // visit(fragment's sums, first of the two, row, column)
#pragma unroll
    for (int i = 0; i < kFragmentsM; ++i)
#pragma unroll
      for (int j = 0; j < kFragmentsN; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half)
          visit(i, j, 2 * half, row0 + warp_row + 16 * i + 8 * half + group, col0 + warp_col + 8 * j + 2 * quad);
  };

  float sums[kFragmentsM][kFragmentsN][4] = {};
#pragma unroll 1
  for (int step = 0; step < kStages - 1; ++step) fetch(step, step);
  if (result.accumulate) {
    each_pair([&](int i, int j, int first, int row, int col) {
      const float* const from = static_cast<const float*>(result.c) + row * result.stride + col;
      if (row < result.m && col < result.n) sums[i][j][first] = from[0];
      if (row < result.m && col + 1 < result.n) sums[i][j][first + 1] = from[1];
    });
  }

  const Fragments<kM, !kATransposed, true> fragments_a(warp_row);
  const Fragments<kN, kBTransposed, false> fragments_b(warp_col);
  const auto multiply = [&](int stage) {
    const bf16* const tile_a = stage_a(stage);
    const TB* const tile_b = stage_b(stage);
#pragma unroll
    for (int k = 0; k < kStep; k += 16) {
      uint32_t left[kFragmentsM][4], right[kFragmentsN / 2][4];
#pragma unroll
      for (int i = 0; i < kFragmentsM; ++i) fragments_a.load(left[i], tile_a, i, k);
#pragma unroll
      for (int j = 0; j < kFragmentsN / 2; ++j) fragments_b.load(right[j], tile_b, j, k);
#pragma unroll
      for (int j = 0; j < kFragmentsN; ++j) {
        const uint32_t words[2] = {right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]};
        if constexpr (std::is_same_v<TB, f16>) {
          uint32_t high[2], rest[2];
          split_f16(words[0], high[0], rest[0]);
          split_f16(words[1], high[1], rest[1]);
#pragma unroll
          for (int i = 0; i < kFragmentsM; ++i) {
            mma_bf16(sums[i][j], left[i], high);
            mma_bf16(sums[i][j], left[i], rest);
          }
        } else {
#pragma unroll
          for (int i = 0; i < kFragmentsM; ++i) mma_bf16(sums[i][j], left[i], words);
        }
      }
    }
  };

  int step = 0, stage = 0, free = kStages - 1;  // free: the stage that is filled next
  const auto turn = [&](auto&& fetch_next) {
    copy_async_wait<kStages - 2>();
    __syncthreads();  // all threads have this step's data, and none reads the stage that is filled next
    fetch_next();
    multiply(stage);
    stage = stage + 1 == kStages ? 0 : stage + 1;
    free = free + 1 == kStages ? 0 : free + 1;
  };
#pragma unroll 1
  for (; step + kStages - 1 < whole; ++step) turn([&] { fetch_whole(free); });
#pragma unroll 1
  for (; step < steps; ++step) turn([&] { fetch(step + kStages - 1, free); });

  each_pair([&](int i, int j, int first, int row, int col) {
    if (row >= result.m || col >= result.n) return;
    const int64_t at = row * result.stride + col;
    const int left = static_cast<int>(result.n) - col;
    float x = sums[i][j][first], y = sums[i][j][first + 1];
    if (result.bias != nullptr) {
      x += result.bias[col];
      if (left >= 2) y += result.bias[col + 1];
    }
    if (result.bf16_result)
      store_two(static_cast<bf16*>(result.c) + at, x, y, left, result.pairs);
    else
      store_two(static_cast<float*>(result.c) + at, x, y, left, result.pairs);
  });
#endif
}

}  // namespace rubricate::cuda
