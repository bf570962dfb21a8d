// Attention backward in bf16 on tensor cores. With x, lse and p = 2^(x - lse) as in attention_tensor_cores.cuh, and
// D = dO . o of a row (attention_delta):
//
//   dP = dO v^T;  dS = p (dP - D);  dq = scale dS k;  dk = scale dS^T q;  dv = p^T dO
//
// One kernel computes dq: a block has 64 query rows and visits key blocks in ascending order. Another computes dk and
// dv: a block has 64 keys and visits the query rows of all heads of the group in ascending order, 32 at a time. So
// every sum has one fixed order, without atomics; the scores are computed twice. p and dS are rounded to bf16 for their
// matmuls.
//
// Operations: 6 head_dim for each query row and key in the first, 8 head_dim in the second. A warp executes some 720
// instructions for 192 mma in the first and 540 for 128 in the second (RESOURCES.md); by these counts shared memory limits both.
#pragma once

#include "ops/attention/attention_fragments.cuh"

namespace rubricate::cuda {

struct AttentionBackwardPointers {
  const bf16 *q, *k, *v, *dout;
  const float *lse, *delta;
  bf16 *dq, *dk, *dv;
  const AttentionTile* tiles;
  HeadSizes sizes;
  float scale;

  // Key (or value) `row` of a tile's sequence.
  __device__ __forceinline__ int64_t key_offset(const AttentionTile& tile, int kv_head, int row) const {
    return (static_cast<int64_t>(tile.start + row) * sizes.kv_heads + kv_head) * sizes.head_dim;
  }
};

constexpr int kBackwardQueries = 32;  // rows at a time, for dk and dv

template <int kDim>
constexpr int64_t kQueryGradientBytes = 4 * kAttentionTile* kPitch<kDim>* int64_t{sizeof(bf16)};
template <int kDim>
constexpr int64_t kKeyGradientBytes = (2 * kKeyBlock + 4 * kBackwardQueries) * kPitch<kDim>* int64_t{sizeof(bf16)} +
                                      4 * kBackwardQueries * 4;

template <int kDim, bool kWindow>
__global__ void __launch_bounds__(kAttentionThreads, 2) attention_query_gradient(AttentionBackwardPointers at) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  // Devices without bf16 tensor cores run attention_query_gradient_plain.
  __trap();
#else
  constexpr int kRows = static_cast<int>(kAttentionTile), kKeys = static_cast<int>(kKeyBlock);
  RUBRICATE_DYNAMIC_SHARED(bf16, queries);
  bf16* const douts = queries + kRows * kPitch<kDim>;
  bf16* const keys = douts + kRows * kPitch<kDim>;
  bf16* const values = keys + kKeys * kPitch<kDim>;
  const AttentionTile tile = at.tiles[blockIdx.x];
  const HeadSizes sizes = at.sizes;
  const int kv_head = static_cast<int>(blockIdx.y), rows = query_rows(tile, sizes) - tile.first;
  const int quad = lane_index() % 4, first_row = warp_index() * 16 + lane_index() / 4;
  const int last = (tile.first + min(rows, kRows) - 1) / sizes.group, earliest = tile.first / sizes.group;
  const auto offset = [&](int row) { return query_offset(tile, sizes, kv_head, tile.first + row); };

  float lse[2] = {}, delta[2] = {};
  int position[2], begin[2];  // the last and the first key that a row sees
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first_row + 8 * half;
    position[half] = (tile.first + row) / sizes.group;
    begin[half] = first_key<kWindow>(sizes, position[half]);
    if (row >= rows) continue;
    lse[half] = at.lse[offset(row)];
    delta[half] = at.delta[offset(row)];
  }
  const float scale = at.scale * kLog2E;
  float dq[kDim / 8][4] = {};
  const RowCopy<kKeys, kDim> copier(sizes.head_dim);
  const auto copy_keys = [&](bf16* to, const bf16* from, int base) {
    if (base <= last)
      copier.copy(to, last + 1 - base, from + at.key_offset(tile, kv_head, base), sizes.kv_heads * sizes.head_dim);
    copy_async_commit();
  };
  copier.copy(queries, rows, [&](int r) { return at.q + offset(r) * sizes.head_dim; });
  copier.copy(douts, rows, [&](int r) { return at.dout + offset(r) * sizes.head_dim; });
  int base = first_key<kWindow>(sizes, earliest) / kKeys * kKeys;
  copy_keys(values, at.v, base);
  copy_keys(keys, at.k, base);
  const auto block = [&](auto masked) {
    float scores[kKeys / 8][4] = {}, d_scores[kKeys / 8][4] = {};
    copy_async_wait<1>();  // values
    __syncthreads();
    multiply_rows<kDim>(d_scores, douts, warp_index() * 16, values);
    copy_async_wait<0>();  // keys
    __syncthreads();       // and all threads have read the values
    copy_keys(values, at.v, base + kKeys);
    multiply_rows<kDim>(scores, queries, warp_index() * 16, keys);
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int key = base + 8 * j + 2 * quad + i % 2;
        const bool visible = !decltype(masked)::value || (key <= position[i / 2] && (!kWindow || key >= begin[i / 2]));
        const float p = exp2f(scores[j][i] * scale - lse[i / 2]);
        scores[j][i] = visible ? p * (d_scores[j][i] - delta[i / 2]) : 0.0f;
      }
    }
    multiply_weights<kDim>(dq, scores, keys);
    __syncthreads();  // all threads have read the keys
    copy_keys(keys, at.k, base + kKeys);
    base += kKeys;
  };
  const int first_whole = kWindow ? first_key<kWindow>(sizes, last) : 0;
  const auto whole = [&] { return base + kKeys <= earliest + 1 && (!kWindow || base >= first_whole); };
  each_block(base, last + 1, whole, block);
  const float factor[2] = {at.scale, at.scale};
  store_sums<kDim>(dq, factor, sizes.head_dim, [&](int r) -> bf16* {
    const int row = warp_index() * 16 + r;
    return row < rows ? at.dq + offset(row) * sizes.head_dim : nullptr;
  });
#endif
}

template <int kDim, bool kWindow>
__global__ void __launch_bounds__(kAttentionThreads, 2) attention_key_gradient(AttentionBackwardPointers at) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  // Devices without bf16 tensor cores run attention_key_gradient_plain.
  __trap();
#else
  constexpr int kKeys = static_cast<int>(kKeyBlock), kQueries = kBackwardQueries;
  constexpr int kStage = kQueries * kPitch<kDim>;
  RUBRICATE_DYNAMIC_SHARED(bf16, keys);
  bf16* const values = keys + kKeys * kPitch<kDim>;
  bf16* const queries = values + kKeys * kPitch<kDim>;  // two stages, and two of dO
  bf16* const douts = queries + 2 * kStage;
  float* const row_lse = reinterpret_cast<float*>(douts + 2 * kStage);  // two stages, and two of D
  float* const row_delta = row_lse + 2 * kQueries;
  const AttentionTile tile = at.tiles[blockIdx.x];
  const HeadSizes sizes = at.sizes;
  const int kv_head = static_cast<int>(blockIdx.y), rows = query_rows(tile, sizes), count = tile.count - tile.first;
  const int quad = lane_index() % 4, key = tile.first + warp_index() * 16 + lane_index() / 4;
  const int begin = tile.first * sizes.group;  // the first row that sees a key of the tile
  const RowCopy<kQueries, kDim> copier(sizes.head_dim);
  const int64_t first_offset = query_offset(tile, sizes, kv_head, 0);
  const int own = static_cast<int>(threadIdx.x);
  const auto copy_queries = [&](int first, int stage) {
    const int left = rows - first;
    const auto offset = [&](int r) {
      return first_offset + (first + r) +
             static_cast<int64_t>(position_of(sizes, first + r)) * (sizes.heads - sizes.group);
    };
    copier.copy(queries + stage * kStage, left, [&](int r) { return at.q + offset(r) * sizes.head_dim; });
    copier.copy(douts + stage * kStage, left, [&](int r) { return at.dout + offset(r) * sizes.head_dim; });
    copy_async_commit();
    if (own >= kQueries) return;
    row_lse[stage * kQueries + own] = own < left ? at.lse[offset(own)] : 0.0f;
    row_delta[stage * kQueries + own] = own < left ? at.delta[offset(own)] : 0.0f;
  };

  const float scale = at.scale * kLog2E;
  float dk[kDim / 8][4] = {}, dv[kDim / 8][4] = {};
  const RowCopy<kKeys, kDim> key_copier(sizes.head_dim);
  const int stride = sizes.kv_heads * sizes.head_dim;
  key_copier.copy(keys, count, at.k + at.key_offset(tile, kv_head, tile.first), stride);
  key_copier.copy(values, count, at.v + at.key_offset(tile, kv_head, tile.first), stride);
  copy_queries(begin, 0);
  int stage = 0, first = begin;
  const int end = rows_up_to<kWindow>(tile, sizes, tile.first + min(count, kKeys) - 1);
  // The rows that see a key are first_seen[half] to last_seen[half] - 1.
  const int first_seen[2] = {key * sizes.group, (key + 8) * sizes.group};
  const int last_seen[2] = {rows_up_to<kWindow>(tile, sizes, key), rows_up_to<kWindow>(tile, sizes, key + 8)};
  const auto block = [&](auto masked) {
    if (first + kQueries < end)
      copy_queries(first + kQueries, stage ^ 1);
    else
      copy_async_commit();
    copy_async_wait<1>();
    __syncthreads();
    const bf16 *const q = queries + stage * kStage, *const dout = douts + stage * kStage;
    const float *const lse = row_lse + stage * kQueries, *const delta = row_delta + stage * kQueries;
    float weights[kQueries / 8][4] = {}, d_scores[kQueries / 8][4] = {};
    multiply_rows<kDim>(weights, keys, warp_index() * 16, q);
    multiply_rows<kDim>(d_scores, values, warp_index() * 16, dout);
#pragma unroll
    for (int j = 0; j < kQueries / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int r = 8 * j + 2 * quad + i % 2;
        const bool visible =
            !decltype(masked)::value || (first + r >= first_seen[i / 2] && first + r < last_seen[i / 2]);
        const float p = visible ? exp2f(weights[j][i] * scale - lse[r]) : 0.0f;
        weights[j][i] = p;
        d_scores[j][i] = visible ? p * (d_scores[j][i] - delta[r]) : 0.0f;
      }
    }
    multiply_weights<kDim>(dv, weights, dout);
    multiply_weights<kDim>(dk, d_scores, q);
    __syncthreads();  // all threads have read this stage
    first += kQueries;
    stage ^= 1;
  };
  const int whole_from = (tile.first + kKeys - 1) * sizes.group;
  const int whole_to = rows_up_to<kWindow>(tile, sizes, tile.first);
  const auto whole = [&] { return first >= whole_from && first + kQueries <= whole_to; };
  each_block(first, end, whole, block);
  const auto row = [&](bf16* to) {
    return [&, to](int r) -> bf16* {
      const int j = warp_index() * 16 + r;
      return to != nullptr && j < count ? to + at.key_offset(tile, kv_head, tile.first + j) : nullptr;
    };
  };
  const float factor[2] = {at.scale, at.scale}, one[2] = {1.0f, 1.0f};
  store_sums<kDim>(dk, factor, sizes.head_dim, row(at.dk));
  store_sums<kDim>(dv, one, sizes.head_dim, row(at.dv));
#endif
}

}  // namespace rubricate::cuda
