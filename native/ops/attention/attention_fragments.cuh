// Helpers of the tensor core kernels of attention: tiles of rows in shared memory, and fragments of them. Each row of a
// tile is padded by 16 bytes, so that the eight rows that an ldmatrix reads are in different banks.
#pragma once

#include <type_traits>

#include "ops/attention/attention_rows.cuh"
#include "ops/shared/chunks.cuh"

namespace rubricate::cuda {

constexpr int kAttentionThreads = 128;
constexpr float kLog2E = 1.44269504f;

template <int kDim>  // head_dim, rounded up to a size that kernels are built for
constexpr int kPitch = kDim + kCopyChunk;

// A thread's share of copying tiles of kRows rows to shared memory: the same places of each tile, computed once. Columns
// beyond head_dim, a multiple of 8, are filled with zeros. The caller waits and synchronizes.
template <int kRows, int kDim>
class RowCopy {
  static constexpr int kChunks = kDim / kCopyChunk;
  static constexpr int kRowThreads = kChunks & -kChunks;  // threads that share a row: a power of two
  static constexpr int kAtOnce = kAttentionThreads / kRowThreads;
  static constexpr int kTimes = kRows > kAtOnce ? kRows / kAtOnce : 1;

 public:
  __device__ __forceinline__ explicit RowCopy(int head_dim)
      : row_(static_cast<int>(threadIdx.x) / kRowThreads),
        col_(static_cast<int>(threadIdx.x) % kRowThreads * kCopyChunk),
        to_(row_ * kPitch<kDim> + col_) {
#pragma unroll
    for (int part = 0; part < kChunks / kRowThreads; ++part) exists_[part] = col_ + part * kPart < head_dim;
  }

  // Rows below `count` are those at row(r); the others are filled with zeros.
  template <typename Row>
  __device__ __forceinline__ void copy(bf16* tile, int count, Row&& row) const {
    if (kAtOnce > kRows && row_ >= kRows) return;
#pragma unroll
    for (int time = 0; time < kTimes; ++time) {
      const int r = row_ + time * kAtOnce;
      const bf16* const from = row(r) + col_;
#pragma unroll
      for (int part = 0; part < kChunks / kRowThreads; ++part)
        copy_async_16(tile + to_ + time * kAtOnce * kPitch<kDim> + part * kPart, from + part * kPart,
                      r < count && exists_[part]);
    }
  }
  // The same if they are `stride` elements apart.
  __device__ __forceinline__ void copy(bf16* tile, int count, const bf16* first, int stride) const {
    copy(tile, count, [&](int r) { return first + static_cast<int64_t>(r) * stride; });
  }

 private:
  static constexpr int kPart = kRowThreads * kCopyChunk;
  int row_, col_, to_;
  bool exists_[kChunks / kRowThreads];
};

// A fragment of A: rows `row` to `row` + 15, columns `col` to `col` + 15 of a tile.
template <int kDim>
__device__ __forceinline__ void load_left(uint32_t (&words)[4], const bf16* tile, int row, int col) {
  const int lane = lane_index();
  load_matrices(words, tile + (row + lane % 16) * kPitch<kDim> + col + lane / 16 * 8);
}
// Two fragments of B: words 0 and 1, words 2 and 3. Rows of the tile are columns of B, its columns are k.
template <int kDim>
__device__ __forceinline__ void load_right(uint32_t (&words)[4], const bf16* tile, int row, int col) {
  const int lane = lane_index();
  load_matrices(words, tile + (row + lane % 8 + lane / 16 * 8) * kPitch<kDim> + col + lane / 8 % 2 * 8);
}
// The same if rows of the tile are k and its columns are columns of B.
template <int kDim>
__device__ __forceinline__ void load_right_transposed(uint32_t (&words)[4], const bf16* tile, int row, int col) {
  const int lane = lane_index();
  load_matrices_transposed(words, tile + (row + lane % 16) * kPitch<kDim> + col + lane / 16 * 8);
}

__device__ __forceinline__ void mma_pair(float (&first)[4], float (&second)[4], const uint32_t (&left)[4],
                                         const uint32_t (&right)[4]) {
  const uint32_t low[2] = {right[0], right[1]}, high[2] = {right[2], right[3]};
  mma_bf16(first, left, low);
  mma_bf16(second, left, high);
}

// sums[16, 8 * kTiles] += rows `row` of `left` times rows 0 .. 8 * kTiles of `right`, over kDim.
template <int kDim, int kTiles>
__device__ __forceinline__ void multiply_rows(float (&sums)[kTiles][4], const bf16* left, int row, const bf16* right) {
#pragma unroll
  for (int d = 0; d < kDim; d += 16) {
    uint32_t a[4];
    load_left<kDim>(a, left, row, d);
#pragma unroll
    for (int j = 0; j < kTiles; j += 2) {
      uint32_t b[4];
      load_right<kDim>(b, right, 8 * j, d);
      mma_pair(sums[j], sums[j + 1], a, b);
    }
  }
}

// sums[16, kDim] += weights[16, 8 * kTiles], rounded to bf16, times rows 0 .. 8 * kTiles of `right`.
template <int kDim, int kTiles>
__device__ __forceinline__ void multiply_weights(float (&sums)[kDim / 8][4], const float (&weights)[kTiles][4],
                                                 const bf16* right) {
#pragma unroll
  for (int j = 0; j < kTiles; j += 2) {
    const uint32_t a[4] = {narrow_pair<bf16>(weights[j][0], weights[j][1]),
                           narrow_pair<bf16>(weights[j][2], weights[j][3]),
                           narrow_pair<bf16>(weights[j + 1][0], weights[j + 1][1]),
                           narrow_pair<bf16>(weights[j + 1][2], weights[j + 1][3])};
#pragma unroll
    for (int d = 0; d < kDim; d += 16) {
      uint32_t b[4];
      load_right_transposed<kDim>(b, right, 8 * j, d);
      mma_pair(sums[d / 8], sums[d / 8 + 1], a, b);
    }
  }
}

// Writes a warp's 16 rows of sums times factor[half] to `row`(index of the row) of up to head_dim elements.
template <int kDim, typename Row>
__device__ __forceinline__ void store_sums(const float (&sums)[kDim / 8][4], const float (&factor)[2], int head_dim,
                                           Row&& row) {
  const int group = lane_index() / 4, quad = lane_index() % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    bf16* const to = row(group + 8 * half);
    if (to == nullptr) continue;
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) {
      const int d = 8 * j + 2 * quad;
      store_two(to + d, sums[j][2 * half] * factor[half], sums[j][2 * half + 1] * factor[half], head_dim - d,
                head_dim % 2 == 0);
    }
  }
}

// Calls block(masked) from `at` to `end`; block() advances `at`. Blocks that every row (or key) of the tile sees completely
// have a loop of their own, without masks.
template <typename Whole, typename Block>
__device__ __forceinline__ void each_block(const int& at, int end, Whole&& whole, Block&& block) {
#pragma unroll 1
  while (at < end) {
#pragma unroll 1
    while (whole()) block(std::false_type());
    if (at < end) block(std::true_type());
  }
}

}  // namespace rubricate::cuda
