// Attention in fp32: for f32 tensors, for head_dim above 128, and for devices without bf16 tensor cores. The formulas
// are those of attention_tensor_cores.cuh, with natural exponentials. Every sum is one chain of fused multiply-adds,
// over keys or query rows in ascending order; masked keys are skipped, not added as zeros.
//
// A block of 128 threads has 32 rows (queries, or keys for dk and dv) and visits 64 columns (keys, or query
// rows) at a time. Operands pass through shared memory in slices of 32 components, so that the block's size does not
// depend on head_dim. Thread (down, across) of 8 x 16 has rows 4 down + i, columns across + 16 j, and components across
// + 16 c. delta is dO . o of a row; d_scores is first dP = dO . v, then the gradient of the scores, p (dP - delta).
#pragma once

#include <type_traits>

#include "ops/attention/attention_rows.cuh"

namespace rubricate::cuda {

constexpr int kPlainThreads = 128, kPlainRows = 32, kPlainCols = 64, kSlice = 32;

template <typename T>
struct AttentionPlainPointers {
  const T* q;
  KeySource<T> source;
  const T* dout;
  T* o;
  float* lse;          // written by forward
  const float* delta;  // [T, heads]
  T *dq, *dk, *dv;
  const AttentionTile* tiles;
  HeadSizes sizes;
  float scale;
};

using RowSlice = float[kPlainRows][kSlice + 1];
using ColSlice = float[kPlainCols][kSlice + 1];
using Weights = float[kPlainRows][kPlainCols + 1];

struct PlainThread {
  int down, across;
};
__device__ __forceinline__ PlainThread plain_thread() {
  return {static_cast<int>(threadIdx.x) / 16, static_cast<int>(threadIdx.x) % 16};
}

// Components [d, d + kSlice) of rows 0 .. of row(r), zeros where there are none: r >= count, or beyond head_dim.
template <int kRows, typename Row>
__device__ __forceinline__ void copy_slice(float (*slice)[kSlice + 1], int count, int head_dim, int d, Row&& row) {
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kSlice; i += kPlainThreads) {
    const int r = i / kSlice, at = d + i % kSlice;
    slice[r][i % kSlice] = r < count && at < head_dim ? widen(row(r)[at]) : 0.0f;
  }
}

// sums[i][j] += row . col, over head_dim. Ends with a barrier, so the slices may be overwritten.
template <typename Row, typename Col>
__device__ __forceinline__ void plain_products(float (&sums)[4][4], RowSlice& rows, ColSlice& cols, int row_count,
                                               int col_count, int head_dim, Row&& row, Col&& col) {
  const PlainThread mine = plain_thread();
  for (int d = 0; d < head_dim; d += kSlice) {
    copy_slice<kPlainRows>(rows, row_count, head_dim, d, row);
    copy_slice<kPlainCols>(cols, col_count, head_dim, d, col);
    __syncthreads();
#pragma unroll 4
    for (int at = 0; at < kSlice; ++at) {
      float left[4], right[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) left[i] = rows[4 * mine.down + i][at];
#pragma unroll
      for (int j = 0; j < 4; ++j) right[j] = cols[mine.across + 16 * j][at];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(left[i], right[j], sums[i][j]);
      }
    }
    __syncthreads();
  }
}

// sums[i][c] += sum over columns j of weights[row][j] col[j][component c], only for j in [begin[i], end[i]). The same
// threads wrote the weights. Has a barrier inside, and one at the end.
template <int kDim, typename Col>
__device__ __forceinline__ void plain_weighted(float (&sums)[4][kDim / 16], const Weights& weights, ColSlice& cols,
                                               int count, int head_dim, const int (&begin)[4], const int (&end)[4],
                                               Col&& col) {
  const PlainThread mine = plain_thread();
#pragma unroll
  for (int slice = 0; slice < kDim / kSlice; ++slice) {
    if (slice * kSlice >= head_dim) continue;
    copy_slice<kPlainCols>(cols, count, head_dim, slice * kSlice, col);
    __syncthreads();
#pragma unroll 2
    for (int j = 0; j < kPlainCols; ++j) {
      const float first = cols[j][mine.across], second = cols[j][mine.across + 16];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (j < begin[i] || j >= end[i]) continue;
        const float weight = weights[4 * mine.down + i][j];
        sums[i][2 * slice] = fmaf(weight, first, sums[i][2 * slice]);
        sums[i][2 * slice + 1] = fmaf(weight, second, sums[i][2 * slice + 1]);
      }
    }
    __syncthreads();
  }
}

template <typename T, int kDim, typename Row>
__device__ __forceinline__ void plain_store(const float (&sums)[4][kDim / 16], const float (&factor)[4], int count,
                                            int head_dim, Row&& row) {
  const PlainThread mine = plain_thread();
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (4 * mine.down + i >= count) continue;
    T* const to = row(4 * mine.down + i);
#pragma unroll
    for (int c = 0; c < kDim / 16; ++c) {
      const int d = mine.across + 16 * c;
      if (d < head_dim) to[d] = narrow<T>(sums[i][c] * factor[i]);
    }
  }
}

template <typename T, int kDim, bool kWindow>
__global__ void __launch_bounds__(kPlainThreads, 2) attention_forward_plain(AttentionPlainPointers<T> at) {
  RUBRICATE_SHARED(RowSlice, row_slice);
  RUBRICATE_SHARED(ColSlice, col_slice);
  RUBRICATE_SHARED(Weights, weights);
  const AttentionTile tile = at.tiles[blockIdx.x];
  const HeadSizes sizes = at.sizes;
  const int kv_head = static_cast<int>(blockIdx.y), first = tile.first + static_cast<int>(blockIdx.z) * kPlainRows;
  const int rows = query_rows(tile, sizes) - first;
  if (rows <= 0) return;
  const int last = tile.past + (first + min(rows, kPlainRows) - 1) / sizes.group;
  const PlainThread mine = plain_thread();
  const auto offset = [&](int row) { return query_offset(tile, sizes, kv_head, first + row); };

  float o[4][kDim / 16] = {}, row_max[4], sum[4] = {};
#pragma unroll
  for (int i = 0; i < 4; ++i) row_max[i] = -INFINITY;
  const int first_block = first_key<kWindow>(sizes, tile.past + first / sizes.group) / kPlainCols * kPlainCols;
  for (int base = first_block; base <= last; base += kPlainCols) {
    const KeyRows<T> from = at.source.rows(tile, sizes, kv_head, base);
    const int count = last + 1 - base;
    float scores[4][4] = {};
    plain_products(
        scores, row_slice, col_slice, rows, count, sizes.head_dim,
        [&](int r) { return at.q + offset(r) * sizes.head_dim; }, [&](int j) { return from.k + j * from.stride; });
    int begin[4] = {}, seen[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int position = tile.past + (first + 4 * mine.down + i) / sizes.group;
      if (kWindow) begin[i] = first_key<kWindow>(sizes, position) - base;
      seen[i] = min(kPlainCols, position + 1 - base);
      float block = -INFINITY;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int key = mine.across + 16 * j;
        const bool visible = key < seen[i] && (!kWindow || key >= begin[i]);
        scores[i][j] = visible ? scores[i][j] * at.scale : -INFINITY;
        block = fmaxf(block, scores[i][j]);
      }
      const float now = fmaxf(row_max[i], warp_max<16>(block)), shift = now == -INFINITY ? 0.0f : now;
      const float a = expf(row_max[i] - shift);
      row_max[i] = now;
      float total = 0.0f;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float p = expf(scores[i][j] - shift);
        weights[4 * mine.down + i][mine.across + 16 * j] = p;
        total += p;
      }
      sum[i] = sum[i] * a + warp_sum<16>(total);
#pragma unroll
      for (int c = 0; c < kDim / 16; ++c) o[i][c] *= a;
    }
    plain_weighted<kDim>(o, weights, col_slice, count, sizes.head_dim, begin, seen,
                         [&](int j) { return from.v + j * from.stride; });
  }
  float factor[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    factor[i] = 1.0f / sum[i];
    const int row = 4 * mine.down + i;
    if (at.lse != nullptr && mine.across == 0 && row < rows) at.lse[offset(row)] = row_max[i] + logf(sum[i]);
  }
  plain_store<T, kDim>(o, factor, rows, sizes.head_dim, [&](int r) { return at.o + offset(r) * sizes.head_dim; });
}

template <typename T, int kDim, bool kWindow>
__global__ void __launch_bounds__(kPlainThreads, 2) attention_query_gradient_plain(AttentionPlainPointers<T> at) {
  RUBRICATE_SHARED(RowSlice, row_slice);
  RUBRICATE_SHARED(ColSlice, col_slice);
  RUBRICATE_SHARED(Weights, weights);
  const AttentionTile tile = at.tiles[blockIdx.x];
  const HeadSizes sizes = at.sizes;
  const int kv_head = static_cast<int>(blockIdx.y), first = tile.first + static_cast<int>(blockIdx.z) * kPlainRows;
  const int rows = query_rows(tile, sizes) - first;
  if (rows <= 0) return;
  const int last = (first + min(rows, kPlainRows) - 1) / sizes.group;
  const PlainThread mine = plain_thread();
  const auto offset = [&](int row) { return query_offset(tile, sizes, kv_head, first + row); };

  float dq[4][kDim / 16] = {}, lse[4] = {}, delta[4] = {};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = 4 * mine.down + i;
    if (row >= rows) continue;
    lse[i] = at.lse[offset(row)];
    delta[i] = at.delta[offset(row)];
  }
  const int first_block = first_key<kWindow>(sizes, first / sizes.group) / kPlainCols * kPlainCols;
  for (int base = first_block; base <= last; base += kPlainCols) {
    const KeyRows<T> from = at.source.rows(tile, sizes, kv_head, base);
    const int count = last + 1 - base;
    const auto key = [&](int j) { return from.k + j * from.stride; };
    float scores[4][4] = {}, d_scores[4][4] = {};
    plain_products(
        scores, row_slice, col_slice, rows, count, sizes.head_dim,
        [&](int r) { return at.q + offset(r) * sizes.head_dim; }, key);
    plain_products(
        d_scores, row_slice, col_slice, rows, count, sizes.head_dim,
        [&](int r) { return at.dout + offset(r) * sizes.head_dim; }, [&](int j) { return from.v + j * from.stride; });
    int begin[4] = {}, seen[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int position = (first + 4 * mine.down + i) / sizes.group;
      if (kWindow) begin[i] = first_key<kWindow>(sizes, position) - base;
      seen[i] = position + 1 - base;
#pragma unroll
      for (int j = 0; j < 4; ++j)
        weights[4 * mine.down + i][mine.across + 16 * j] =
            expf(scores[i][j] * at.scale - lse[i]) * (d_scores[i][j] - delta[i]);
    }
    plain_weighted<kDim>(dq, weights, col_slice, count, sizes.head_dim, begin, seen, key);
  }
  const float factor[4] = {at.scale, at.scale, at.scale, at.scale};
  plain_store<T, kDim>(dq, factor, rows, sizes.head_dim, [&](int r) { return at.dq + offset(r) * sizes.head_dim; });
}

// Rows are keys, columns are query rows.
template <typename T, int kDim, bool kWindow>
__global__ void __launch_bounds__(kPlainThreads, 2) attention_key_gradient_plain(AttentionPlainPointers<T> at) {
  RUBRICATE_SHARED(RowSlice, row_slice);
  RUBRICATE_SHARED(ColSlice, col_slice);
  RUBRICATE_SHARED(Weights, weights);
  const AttentionTile tile = at.tiles[blockIdx.x];
  const HeadSizes sizes = at.sizes;
  const int kv_head = static_cast<int>(blockIdx.y), first = tile.first + static_cast<int>(blockIdx.z) * kPlainRows;
  const int keys = tile.count - first, queries = query_rows(tile, sizes);
  if (keys <= 0) return;
  const PlainThread mine = plain_thread();
  const auto key_offset = [&](int j) {
    return (static_cast<int64_t>(tile.start + first + j) * sizes.kv_heads + kv_head) * sizes.head_dim;
  };

  float dk[4][kDim / 16] = {}, dv[4][kDim / 16] = {};
  const int last_row = rows_up_to<kWindow>(tile, sizes, first + min(keys, kPlainRows) - 1);
  for (int base = first * sizes.group; base < last_row; base += kPlainCols) {
    const int count = queries - base;
    const auto offset = [&](int r) { return query_offset(tile, sizes, kv_head, base + r); };
    const auto query = [&](int r) { return at.q + offset(r) * sizes.head_dim; };
    const auto dout = [&](int r) { return at.dout + offset(r) * sizes.head_dim; };
    float scores[4][4] = {}, d_scores[4][4] = {};
    plain_products(
        scores, row_slice, col_slice, keys, count, sizes.head_dim, [&](int j) { return at.source.k + key_offset(j); },
        query);
    plain_products(
        d_scores, row_slice, col_slice, keys, count, sizes.head_dim, [&](int j) { return at.source.v + key_offset(j); },
        dout);
    int begin[4], end[4];  // range of the query rows that see a key
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      begin[i] = (first + 4 * mine.down + i) * sizes.group - base;
      end[i] = min(count, kPlainCols);
      if (kWindow) end[i] = min(end[i], rows_up_to<kWindow>(tile, sizes, first + 4 * mine.down + i) - base);
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int r = mine.across + 16 * j;
      const float lse = r < count ? at.lse[offset(r)] : 0.0f, delta = r < count ? at.delta[offset(r)] : 0.0f;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        scores[i][j] = expf(scores[i][j] * at.scale - lse);
        d_scores[i][j] = scores[i][j] * (d_scores[i][j] - delta);
        weights[4 * mine.down + i][r] = scores[i][j];
      }
    }
    plain_weighted<kDim>(dv, weights, col_slice, count, sizes.head_dim, begin, end, dout);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) weights[4 * mine.down + i][mine.across + 16 * j] = d_scores[i][j];
    }
    plain_weighted<kDim>(dk, weights, col_slice, count, sizes.head_dim, begin, end, query);
  }
  const float factor[4] = {at.scale, at.scale, at.scale, at.scale}, one[4] = {1.0f, 1.0f, 1.0f, 1.0f};
  if (at.dk != nullptr)
    plain_store<T, kDim>(dk, factor, keys, sizes.head_dim, [&](int j) { return at.dk + key_offset(j); });
  if (at.dv != nullptr)
    plain_store<T, kDim>(dv, one, keys, sizes.head_dim, [&](int j) { return at.dv + key_offset(j); });
}

}  // namespace rubricate::cuda
