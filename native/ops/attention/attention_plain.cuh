// Attention in fp32, for f32 tensors, for heads wider than 128, and for devices without bf16 tensor cores; the formulas
// of attention_tensor_cores.cuh, with natural exponentials. Every sum is one chain of fused multiply-adds, over keys or
// query rows in ascending order; what a row must not see takes no part in it.
//
// A block of 128 threads has 32 rows (queries, or keys for dk and dv) and visits 64 others at a time. Operands pass
// through shared memory in slices of 32 components, so that the block's size does not depend on head_dim. Thread (down,
// across) of 8 x 16 has rows 4 down + i, others across + 16 j, and components across + 16 c.
#pragma once

#include <type_traits>

#include "ops/attention/attention_rows.cuh"

namespace rubricate::cuda {

constexpr int kPlainThreads = 128, kPlainRows = 32, kPlainOthers = 64, kSlice = 32;

template <typename T>
struct AttentionPlainPointers {
  const T* q;
  KeySource<T> source;
  const T* dout;
  T* o;
  float* lse;         // written by forward
  const float* dots;  // [T, heads]
  T *dq, *dk, *dv;
  const AttentionTile* tiles;
  HeadSizes sizes;
  float scale;
};

using RowSlice = float[kPlainRows][kSlice + 1];
using OtherSlice = float[kPlainOthers][kSlice + 1];
using Weights = float[kPlainRows][kPlainOthers + 1];

struct PlainPlace {
  int down, across;
};
__device__ __forceinline__ PlainPlace plain_place() {
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

// sums[i][j] += row . other, over head_dim. Ends with a barrier: the slices may be filled again.
template <typename Row, typename Other>
__device__ __forceinline__ void plain_products(float (&sums)[4][4], RowSlice& rows, OtherSlice& others, int row_count,
                                               int other_count, int head_dim, Row&& row, Other&& other) {
  const PlainPlace mine = plain_place();
  for (int d = 0; d < head_dim; d += kSlice) {
    copy_slice<kPlainRows>(rows, row_count, head_dim, d, row);
    copy_slice<kPlainOthers>(others, other_count, head_dim, d, other);
    __syncthreads();
#pragma unroll 4
    for (int at = 0; at < kSlice; ++at) {
      float left[4], right[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) left[i] = rows[4 * mine.down + i][at];
#pragma unroll
      for (int j = 0; j < 4; ++j) right[j] = others[mine.across + 16 * j][at];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(left[i], right[j], sums[i][j]);
      }
    }
    __syncthreads();
  }
}

// sums[i][c] += sum over others j of weights[row][j] other[j][component c], j in [begin[i], end[i]) alone. The weights
// were written before by these threads; a barrier is within, and one at the end.
template <int kDim, typename Other>
__device__ __forceinline__ void plain_weighted(float (&sums)[4][kDim / 16], const Weights& weights, OtherSlice& others,
                                               int count, int head_dim, const int (&begin)[4], const int (&end)[4],
                                               Other&& other) {
  const PlainPlace mine = plain_place();
#pragma unroll
  for (int slice = 0; slice < kDim / kSlice; ++slice) {
    if (slice * kSlice >= head_dim) continue;
    copy_slice<kPlainOthers>(others, count, head_dim, slice * kSlice, other);
    __syncthreads();
#pragma unroll 2
    for (int j = 0; j < kPlainOthers; ++j) {
      const float first = others[j][mine.across], second = others[j][mine.across + 16];
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
__device__ __forceinline__ void plain_store(const float (&sums)[4][kDim / 16], const float (&by)[4], int count,
                                            int head_dim, Row&& row) {
  const PlainPlace mine = plain_place();
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (4 * mine.down + i >= count) continue;
    T* const to = row(4 * mine.down + i);
#pragma unroll
    for (int c = 0; c < kDim / 16; ++c) {
      const int d = mine.across + 16 * c;
      if (d < head_dim) to[d] = narrow<T>(sums[i][c] * by[i]);
    }
  }
}

template <typename T, int kDim>
__global__ void __launch_bounds__(kPlainThreads, 2) attention_forward_plain(AttentionPlainPointers<T> at) {
  RUBRICATE_SHARED(RowSlice, row_slice);
  RUBRICATE_SHARED(OtherSlice, other_slice);
  RUBRICATE_SHARED(Weights, weights);
  const AttentionTile tile = at.tiles[blockIdx.x];
  const HeadSizes sizes = at.sizes;
  const int kv_head = static_cast<int>(blockIdx.y), first = tile.first + static_cast<int>(blockIdx.z) * kPlainRows;
  const int rows = query_rows(tile, sizes) - first;
  if (rows <= 0) return;
  const int last = tile.past + (first + min(rows, kPlainRows) - 1) / sizes.group;
  const PlainPlace mine = plain_place();
  const auto place = [&](int row) { return query_place(tile, sizes, kv_head, first + row); };

  float o[4][kDim / 16] = {}, most[4], sum[4] = {};
#pragma unroll
  for (int i = 0; i < 4; ++i) most[i] = -INFINITY;
  for (int base = 0; base <= last; base += kPlainOthers) {
    const KeyRows<T> from = at.source.rows(tile, sizes, kv_head, base);
    const int count = last + 1 - base, none[4] = {};
    float scores[4][4] = {};
    plain_products(
        scores, row_slice, other_slice, rows, count, sizes.head_dim,
        [&](int r) { return at.q + place(r) * sizes.head_dim; }, [&](int j) { return from.k + j * from.stride; });
    int seen[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      seen[i] = min(kPlainOthers, tile.past + (first + 4 * mine.down + i) / sizes.group + 1 - base);
      float block = -INFINITY;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        scores[i][j] = mine.across + 16 * j < seen[i] ? scores[i][j] * at.scale : -INFINITY;
        block = fmaxf(block, scores[i][j]);
      }
      const float now = fmaxf(most[i], warp_max<16>(block)), shift = now == -INFINITY ? 0.0f : now;
      const float a = expf(most[i] - shift);
      most[i] = now;
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
    plain_weighted<kDim>(o, weights, other_slice, count, sizes.head_dim, none, seen,
                         [&](int j) { return from.v + j * from.stride; });
  }
  float by[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    by[i] = 1.0f / sum[i];
    const int row = 4 * mine.down + i;
    if (at.lse != nullptr && mine.across == 0 && row < rows) at.lse[place(row)] = most[i] + logf(sum[i]);
  }
  plain_store<T, kDim>(o, by, rows, sizes.head_dim, [&](int r) { return at.o + place(r) * sizes.head_dim; });
}

template <typename T, int kDim>
__global__ void __launch_bounds__(kPlainThreads, 2) attention_query_gradient_plain(AttentionPlainPointers<T> at) {
  RUBRICATE_SHARED(RowSlice, row_slice);
  RUBRICATE_SHARED(OtherSlice, other_slice);
  RUBRICATE_SHARED(Weights, weights);
  const AttentionTile tile = at.tiles[blockIdx.x];
  const HeadSizes sizes = at.sizes;
  const int kv_head = static_cast<int>(blockIdx.y), first = tile.first + static_cast<int>(blockIdx.z) * kPlainRows;
  const int rows = query_rows(tile, sizes) - first;
  if (rows <= 0) return;
  const int last = (first + min(rows, kPlainRows) - 1) / sizes.group;
  const PlainPlace mine = plain_place();
  const auto place = [&](int row) { return query_place(tile, sizes, kv_head, first + row); };

  float dq[4][kDim / 16] = {}, lse[4] = {}, dots[4] = {};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = 4 * mine.down + i;
    if (row >= rows) continue;
    lse[i] = at.lse[place(row)];
    dots[i] = at.dots[place(row)];
  }
  for (int base = 0; base <= last; base += kPlainOthers) {
    const KeyRows<T> from = at.source.rows(tile, sizes, kv_head, base);
    const int count = last + 1 - base, none[4] = {};
    const auto key = [&](int j) { return from.k + j * from.stride; };
    float scores[4][4] = {}, slopes[4][4] = {};
    plain_products(
        scores, row_slice, other_slice, rows, count, sizes.head_dim,
        [&](int r) { return at.q + place(r) * sizes.head_dim; }, key);
    plain_products(
        slopes, row_slice, other_slice, rows, count, sizes.head_dim,
        [&](int r) { return at.dout + place(r) * sizes.head_dim; }, [&](int j) { return from.v + j * from.stride; });
    int seen[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      seen[i] = (first + 4 * mine.down + i) / sizes.group + 1 - base;
#pragma unroll
      for (int j = 0; j < 4; ++j)
        weights[4 * mine.down + i][mine.across + 16 * j] =
            expf(scores[i][j] * at.scale - lse[i]) * (slopes[i][j] - dots[i]);
    }
    plain_weighted<kDim>(dq, weights, other_slice, count, sizes.head_dim, none, seen, key);
  }
  const float by[4] = {at.scale, at.scale, at.scale, at.scale};
  plain_store<T, kDim>(dq, by, rows, sizes.head_dim, [&](int r) { return at.dq + place(r) * sizes.head_dim; });
}

// Rows are keys, others are query rows.
template <typename T, int kDim>
__global__ void __launch_bounds__(kPlainThreads, 2) attention_key_gradient_plain(AttentionPlainPointers<T> at) {
  RUBRICATE_SHARED(RowSlice, row_slice);
  RUBRICATE_SHARED(OtherSlice, other_slice);
  RUBRICATE_SHARED(Weights, weights);
  const AttentionTile tile = at.tiles[blockIdx.x];
  const HeadSizes sizes = at.sizes;
  const int kv_head = static_cast<int>(blockIdx.y), first = tile.first + static_cast<int>(blockIdx.z) * kPlainRows;
  const int keys = tile.count - first, queries = query_rows(tile, sizes);
  if (keys <= 0) return;
  const PlainPlace mine = plain_place();
  const auto key_place = [&](int j) {
    return (static_cast<int64_t>(tile.start + first + j) * sizes.kv_heads + kv_head) * sizes.head_dim;
  };

  float dk[4][kDim / 16] = {}, dv[4][kDim / 16] = {};
  for (int base = first * sizes.group; base < queries; base += kPlainOthers) {
    const int count = queries - base;
    const auto place = [&](int r) { return query_place(tile, sizes, kv_head, base + r); };
    const auto query = [&](int r) { return at.q + place(r) * sizes.head_dim; };
    const auto dout = [&](int r) { return at.dout + place(r) * sizes.head_dim; };
    float scores[4][4] = {}, slopes[4][4] = {};
    plain_products(
        scores, row_slice, other_slice, keys, count, sizes.head_dim, [&](int j) { return at.source.k + key_place(j); },
        query);
    plain_products(
        slopes, row_slice, other_slice, keys, count, sizes.head_dim, [&](int j) { return at.source.v + key_place(j); },
        dout);
    int begin[4], end[4];  // of the query rows that see a key
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      begin[i] = (first + 4 * mine.down + i) * sizes.group - base;
      end[i] = min(count, kPlainOthers);
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int r = mine.across + 16 * j;
      const float lse = r < count ? at.lse[place(r)] : 0.0f, dots = r < count ? at.dots[place(r)] : 0.0f;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        scores[i][j] = expf(scores[i][j] * at.scale - lse);
        slopes[i][j] = scores[i][j] * (slopes[i][j] - dots);
        weights[4 * mine.down + i][r] = scores[i][j];
      }
    }
    plain_weighted<kDim>(dv, weights, other_slice, count, sizes.head_dim, begin, end, dout);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) weights[4 * mine.down + i][mine.across + 16 * j] = slopes[i][j];
    }
    plain_weighted<kDim>(dk, weights, other_slice, count, sizes.head_dim, begin, end, query);
  }
  const float by[4] = {at.scale, at.scale, at.scale, at.scale}, one[4] = {1.0f, 1.0f, 1.0f, 1.0f};
  if (at.dk != nullptr) plain_store<T, kDim>(dk, by, keys, sizes.head_dim, [&](int j) { return at.dk + key_place(j); });
  if (at.dv != nullptr)
    plain_store<T, kDim>(dv, one, keys, sizes.head_dim, [&](int j) { return at.dv + key_place(j); });
}

}  // namespace rubricate::cuda
