// Attention forward in bf16 on tensor cores (Dao et al. 2022, 2023).
//
// A block has four warps and 64 query rows of one sequence and kv head; a warp has 16 rows. For key blocks 0, 1, ... at
// absolute positions, in order:
//   x = scale log2(e) q k;  m' = max(m, max x);  a = 2^(m - m');  p = 2^(x - m');  l' = a l + sum p;  o' = a o + p v
// then o / l, and m + log2(l) for backward. With a window the first block is the first that a row of the tile sees. p is
// rounded to bf16 for its matmul with v, not for its sum.
//
// Masked keys have p = 0 and do not change a row's bits, so a row's result does not depend on the other rows of its
// tile. A NaN or infinity among their values would (0 * NaN). So blocks that not every row sees completely are searched
// for values that are not finite; these are added only to the rows that see them.
//
// Operations: 4 head_dim for each query row and key seen; at the diagonal half a tile is wasted. Bytes: q and o once, k
// and v once for every tile of rows. A warp executes some 750 instructions a block of 64 keys of 128 (RESOURCES.md), of
// them 128 mma and 72 ldmatrix: by these counts shared memory limits, since each of the four warps reads all of k and v for its 16 rows.
#pragma once

#include "ops/attention/attention_fragments.cuh"

namespace rubricate::cuda {

struct AttentionForwardPointers {
  const bf16* q;
  KeySource<bf16> source;
  bf16* o;
  float* lse;
  const AttentionTile* tiles;
  HeadSizes sizes;
  float scale;
};

template <int kDim>
constexpr int64_t kForwardBytes = 3 * kAttentionTile* kPitch<kDim>* int64_t{sizeof(bf16)};

__device__ __forceinline__ bool finite(bf16 x) { return (x.bits & 0x7f80u) != 0x7f80u; }
// Of two values in a word.
__device__ __forceinline__ bool finite_pair(uint32_t pair) {
  return (pair & 0x7f80u) != 0x7f80u && (pair & 0x7f800000u) != 0x7f800000u;
}

// Adds values of seen keys that are not finite to o, and replaces those values by zero. All threads of the block call
// it after a barrier; the tile may be read after it returns.
template <int kDim, bool kWindow>
__device__ __forceinline__ void take_out_nonfinite(bf16* values, float (&o)[kDim / 8][4], const int (&begin)[2],
                                                   const int (&seen)[2]) {
  constexpr int chunks = kDim / kCopyChunk;
  bool all_finite = true;
#pragma unroll
  for (int i = 0; i < kKeyBlock * chunks / kAttentionThreads; ++i) {
    const int at = i * kAttentionThreads + static_cast<int>(threadIdx.x);
    const uint4 words = load_16(values + at / chunks * kPitch<kDim> + at % chunks * kCopyChunk);
    all_finite =
        all_finite && finite_pair(words.x) && finite_pair(words.y) && finite_pair(words.z) && finite_pair(words.w);
  }
  if (__syncthreads_or(!all_finite) == 0) return;
  const int quad = lane_index() % 4;
#pragma unroll 1
  for (int key = 0; key < kKeyBlock; ++key) {
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const bf16 value = values[key * kPitch<kDim> + 8 * j + 2 * quad + i % 2];
        if (!finite(value) && key < seen[i / 2] && (!kWindow || key >= begin[i / 2])) o[j][i] += widen(value);
      }
    }
  }
  __syncthreads();
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < kKeyBlock * kDim; i += kAttentionThreads) {
    bf16& value = values[i / kDim * kPitch<kDim> + i % kDim];
    if (!finite(value)) value = bf16{0};
  }
  __syncthreads();
}

// Turns scores into weights, in place. a: rescales the earlier sums. x, row_max and sum are in units of log2.
// A row sees keys begin to seen of the block; without kMasked, every row sees all.
template <bool kMasked, bool kWindow, int kTiles>
__device__ __forceinline__ void softmax_step(float (&scores)[kTiles][4], float scale, const int (&begin)[2],
                                             const int (&seen)[2], float (&row_max)[2], float (&sum)[2],
                                             float (&a)[2]) {
  const int quad = lane_index() % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float block = -INFINITY;
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i) {
        const int key = 8 * j + 2 * quad + i % 2;
        const bool visible = !kMasked || (key < seen[half] && (!kWindow || key >= begin[half]));
        scores[j][i] = visible ? scores[j][i] * scale : -INFINITY;
        block = fmaxf(block, scores[j][i]);
      }
    }
    block = fmaxf(block, __shfl_xor_sync(kAllLanes, block, 1));
    block = fmaxf(block, __shfl_xor_sync(kAllLanes, block, 2));
    const float now = fmaxf(row_max[half], block), shift = now == -INFINITY ? 0.0f : now;
    a[half] = exp2f(row_max[half] - shift);
    row_max[half] = now;
    float total = 0.0f;
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i) total += scores[j][i] = exp2f(scores[j][i] - shift);
    }
    sum[half] = sum[half] * a[half] + total;  // this lane's share; its columns are the same in every block
  }
}

template <int kDim, bool kWindow>
__global__ void __launch_bounds__(kAttentionThreads, 2) attention_forward_tensor_cores(AttentionForwardPointers at) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  // Devices without bf16 tensor cores run attention_forward_plain.
  __trap();
#else
  constexpr int kRows = static_cast<int>(kAttentionTile), kKeys = static_cast<int>(kKeyBlock);
  RUBRICATE_DYNAMIC_SHARED(bf16, queries);
  bf16* const keys = queries + kRows * kPitch<kDim>;
  bf16* const values = keys + kKeys * kPitch<kDim>;
  const AttentionTile tile = at.tiles[blockIdx.x];
  const HeadSizes sizes = at.sizes;
  const int kv_head = static_cast<int>(blockIdx.y), rows = query_rows(tile, sizes) - tile.first;
  const int first_row = tile.first + warp_index() * 16 + lane_index() / 4;
  const int position[2] = {tile.past + first_row / sizes.group, tile.past + (first_row + 8) / sizes.group};
  const int earliest = tile.past + tile.first / sizes.group;
  const int last = tile.past + (tile.first + min(rows, kRows) - 1) / sizes.group;
  const RowCopy<kKeys, kDim> copier(sizes.head_dim);
  const auto copy_keys = [&](int base) {
    const KeyRows<bf16> from = at.source.rows(tile, sizes, kv_head, base);
    copier.copy(keys, last + 1 - base, from.k, from.stride);
    copy_async_commit();
  };
  const auto copy_values = [&](int base) {
    const KeyRows<bf16> from = at.source.rows(tile, sizes, kv_head, base);
    copier.copy(values, last + 1 - base, from.v, from.stride);
    copy_async_commit();
  };

  const float scale = at.scale * kLog2E;
  float o[kDim / 8][4] = {}, row_max[2] = {-INFINITY, -INFINITY}, sum[2] = {};
  copier.copy(queries, rows,
              [&](int row) { return at.q + query_offset(tile, sizes, kv_head, tile.first + row) * sizes.head_dim; });
  int base = first_key<kWindow>(sizes, earliest) / kKeys * kKeys;
  copy_keys(base);
  copy_values(base);
  const auto block = [&](auto masked) {
    constexpr bool kMasked = decltype(masked)::value;
    const int begin[2] = {first_key<kWindow>(sizes, position[0]) - base, first_key<kWindow>(sizes, position[1]) - base};
    const int seen[2] = {position[0] + 1 - base, position[1] + 1 - base};  // keys of this block that a row sees
    float scores[kKeys / 8][4] = {}, a[2];
    copy_async_wait<1>();  // keys
    __syncthreads();
    multiply_rows<kDim>(scores, queries, warp_index() * 16, keys);
    __syncthreads();  // all threads have read the keys
    if (base + kKeys <= last)
      copy_keys(base + kKeys);
    else
      copy_async_commit();
    softmax_step<kMasked, kWindow>(scores, scale, begin, seen, row_max, sum, a);
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) o[j][i] *= a[i / 2];
    }
    copy_async_wait<1>();  // values
    __syncthreads();
    if constexpr (kMasked) take_out_nonfinite<kDim, kWindow>(values, o, begin, seen);
    multiply_weights<kDim>(o, scores, values);
    __syncthreads();  // all threads have read the values
    if (base + kKeys <= last)
      copy_values(base + kKeys);
    else
      copy_async_commit();
    base += kKeys;
  };
  const int first_whole = kWindow ? first_key<kWindow>(sizes, last) : 0;
  const auto whole = [&] { return base + kKeys <= earliest + 1 && (!kWindow || base >= first_whole); };
  each_block(base, last + 1, whole, block);

  float factor[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    sum[half] += __shfl_xor_sync(kAllLanes, sum[half], 1);
    sum[half] += __shfl_xor_sync(kAllLanes, sum[half], 2);
    factor[half] = 1.0f / sum[half];
    const int row = warp_index() * 16 + lane_index() / 4 + 8 * half;
    if (at.lse != nullptr && lane_index() % 4 == 0 && row < rows)
      at.lse[query_offset(tile, sizes, kv_head, tile.first + row)] = row_max[half] + log2f(sum[half]);
  }
  store_sums<kDim>(o, factor, sizes.head_dim, [&](int r) -> bf16* {
    const int row = warp_index() * 16 + r;
    return row < rows ? at.o + query_offset(tile, sizes, kv_head, tile.first + row) * sizes.head_dim : nullptr;
  });
#endif
}

}  // namespace rubricate::cuda
