// The end of a sub-layer (edit_add_norm.h): edit, residual and RMSNorm in one pass, each row with its slot's vectors.
//
// Why one kernel: op by op, the edit, the addition and the norm each read and write a whole [T, d] tensor, and the
// edited h is stored only to be added. Fused, a row stays in registers from its first load to its last store, so the
// forward moves 4 elements of memory instead of 7. The backward gains in the same way: g and dh come from one pass over
// the row, and so do the sums for the edit's gradients if they are fused too.
//
//   forward    a block a row: e = fma(scale, h, bias), sum = residual + e rounded, its squares over the block, normed
//   backward   a block a row: g = grad_sum + r (w g2 - k sum), dh = scale * g; then row_sums_cuda.cu. If there are
//              enough tiles for every multiprocessor, a block has 64 rows of one sequence instead, and also sums g * h
//              and g over them
//
// Order of sums. The squares and the dot product of a row are summed over a thread's elements, then a warp's lanes,
// then the warps (rows.cuh); the order depends only on the number of columns. Sums over rows are those of row_sums.h,
// fused or not: rows ascending in blocks of 64, then the blocks in order. So both backward kernels give the same bits,
// and a row's result depends on no other row.
//
// Memory-bound. Forward reads h and residual and writes sum and normed: 4 elements (8 bytes in bf16) for about 8
// operations. Backward reads sum, grad_sum and grad_normed and writes g and dh: 5 (10 bytes) for about 9; the sums read
// h and g: 2 more (4 bytes), or fused 1 (2 bytes, 12 together). The fp32 vectors come from the cache: at most 12 bytes
// per column and row.
#include <type_traits>

#include "ops/edit_add_norm/edit_add_norm_kernels.h"
#include "ops/rms_norm/rms_norm.cuh"
#include "ops/row_sums/row_sums.cuh"
#include "ops/slots/slots.cuh"

namespace rubricate::cuda {
namespace {

// Blocks for rows of one fp32 chunk that fit on a multiprocessor (sm_75 has too few threads). Without this hint ptxas
// limits the kernel to 40 registers on sm_100, and spills.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr int kBlocksOfOneChunk = 0;
#else
constexpr int kBlocksOfOneChunk = 5;
#endif

template <typename Args>
constexpr bool kSlotNorm =
    std::is_same_v<Args, EditAddSlotNormArgs> || std::is_same_v<Args, EditAddSlotNormBackwardArgs>;

// With one weight of the norm for all rows, the kernels look up none and read the arguments in place. With weights by slot
// they read a copy that has the row's.
__device__ __forceinline__ const float* norm_weight(const EditAddNormSlotsArgs& args, int32_t) {
  return args.all.weight;
}
__device__ __forceinline__ const float* norm_weight(const EditAddSlotNormArgs& args, int32_t slot) {
  return of_slot_or(args.weight, slot, args.all.weight);
}

template <typename T, int kChunks, typename Args>
__global__ void __launch_bounds__(kRowThreads<kChunks>,
                                  kSlotNorm<Args>&& kChunks == 1 && sizeof(T) == 4 ? kBlocksOfOneChunk : 0)
    edit_add_norm_forward(Args args) {
  constexpr bool kWhole = kChunks > 0;
  RUBRICATE_SHARED(float[kRowPartials], partial);
  const EditAddNormArgs& all = args.all;
  const int64_t cols = all.cols, row = blockIdx.x;
  Row<T, kChunks> h, residual, sums;
  h.fetch(static_cast<const T*>(all.h) + row * cols, cols);
  residual.fetch(static_cast<const T*>(all.residual) + row * cols, cols);
  const int32_t slot = slot_of_row(args.rows, row);
  const float* const scale = of_slot(args.scale, slot);
  const float* const bias = of_slot(args.bias, slot);
  T* const sum = static_cast<T*>(all.sum) + row * cols;
  float squares = 0.0f;
  for_chunks<kChunks>(cols, [&](int k, int64_t column, int64_t left) {
    float x[kRowChunk], r[kRowChunk];
    h.get(k, column, left, x);
    residual.get(k, column, left, r);
    edit_chunk<kWhole>(x, scale, bias, column, left);
#pragma unroll
    for (int i = 0; i < kRowChunk; ++i) x[i] = r[i] + x[i];
    if constexpr (kWhole) {
      sums.chunks[k] = pack<T>(x);
      store_packed(sum + column, sums.chunks[k]);
      unpack(sums.chunks[k], x);
    } else {
      store_some(sum + column, left, x);
      round_to<T>(x);
#pragma unroll
      for (int i = 0; i < kRowChunk; ++i)
        if (i >= left) x[i] = 0.0f;
    }
    add_squares(x, squares);
  });
  if (all.weight == nullptr) return;
  const float inv = inverse_rms(row_sum(squares, partial), cols, all.eps);
  if (all.inv != nullptr && threadIdx.x == 0) all.inv[row] = inv;
  sums.from = sum;
  const float* const weight = norm_weight(args, slot);
  T* const normed = static_cast<T*>(all.normed) + row * cols;
  for_chunks<kChunks>(cols, [&](int k, int64_t column, int64_t left) {
    float x[kRowChunk];
    sums.get(k, column, left, x);
    norm_chunk<kWhole>(x, weight, inv, column, left);
    store_chunk<kWhole>(normed + column, left, x);
  });
}

// Computes g of a chunk from grad (of the normed), x and grad_sum, rounded as in memory; writes it, and dh. Leaves g in
// grad.
template <typename T, bool kWhole>
__device__ __forceinline__ void finish_chunk(const EditAddNormBackwardArgs& all, int64_t at_row, const float* scale,
                                             const float (&x)[kRowChunk], float (&grad)[kRowChunk],
                                             const float (&grad_sum)[kRowChunk], float inv, float factor,
                                             int64_t column, int64_t left) {
  norm_backward_chunk<kWhole>(x, grad, all.weight, inv, factor, column, left);
  if (all.grad_sum != nullptr) {
#pragma unroll
    for (int i = 0; i < kRowChunk; ++i) grad[i] = grad_sum[i] + grad[i];
  }
  round_to<T>(grad);
  store_chunk<kWhole>(static_cast<T*>(all.g) + at_row + column, left, grad);
  if (all.dh == nullptr) return;
  float e[kRowChunk];
#pragma unroll
  for (int i = 0; i < kRowChunk; ++i) e[i] = grad[i];
  edit_chunk<kWhole>(e, scale, nullptr, column, left);
  store_chunk<kWhole>(static_cast<T*>(all.dh) + at_row + column, left, e);
}

__device__ __forceinline__ const EditAddNormBackwardArgs& all_of(const EditAddNormBackwardSlotsArgs& args, int64_t) {
  return args.all;
}
__device__ __forceinline__ EditAddNormBackwardArgs all_of(const EditAddSlotNormBackwardArgs& args, int64_t row) {
  EditAddNormBackwardArgs all = args.all;
  all.weight = of_slot_or(args.weight, slot_of_row(args.sums.rows, row), all.weight);
  return all;
}

template <typename T, int kChunks, typename Args>
__global__ void __launch_bounds__(kRowThreads<kChunks>, kChunks == 1 && sizeof(T) == 4 ? kBlocksOfOneChunk : 0)
    edit_add_norm_backward(Args args) {
  constexpr bool kWhole = kChunks > 0;
  RUBRICATE_SHARED(float[kRowPartials], partial);
  const EditAddNormBackwardArgs& all = all_of(args, args.all.begin + blockIdx.x);
  const int64_t cols = all.cols, row = all.begin + blockIdx.x, at_row = row * cols;
  Row<T, kChunks> x, grad, grad_sum;
  x.fetch(static_cast<const T*>(all.sum) + at_row, cols);
  grad.fetch(static_cast<const T*>(all.grad_normed) + at_row, cols);
  grad_sum.clear();
  if (all.grad_sum != nullptr) grad_sum.fetch(static_cast<const T*>(all.grad_sum) + at_row, cols);
  const float* const scale = all.dh != nullptr ? of_slot(args.sums.scale, slot_of_row(args.sums.rows, row)) : nullptr;
  const float inv = all.inv[row];
  float dot = 0.0f;
  for_chunks<kChunks>(cols, [&](int k, int64_t column, int64_t left) {
    float v[kRowChunk], g[kRowChunk];
    x.get(k, column, left, v);
    grad.get(k, column, left, g);
    add_dot<kWhole>(v, g, all.weight, column, left, dot);
  });
  const float factor = norm_factor(row_sum(dot, partial), inv, cols);
  for_chunks<kChunks>(cols, [&](int k, int64_t column, int64_t left) {
    float v[kRowChunk], g[kRowChunk], s[kRowChunk] = {};
    x.get(k, column, left, v);
    grad.get(k, column, left, g);
    if (all.grad_sum != nullptr) grad_sum.get(k, column, left, s);
    finish_chunk<T, kWhole>(all, at_row, scale, v, g, s, inv, factor, column, left);
  });
}

// The same with the sums: a block has a tile of rows. It loads x and grad of the next row before this row's block-wide
// sum is finished.
template <typename T, int kChunks>
__global__ void __launch_bounds__(kRowThreads<kChunks>) edit_add_norm_backward_sums(EditAddNormBackwardSlotsArgs args) {
  RUBRICATE_SHARED(float[2][kRowPartials], partial);
  const EditAddNormBackwardArgs& all = args.all;
  const int64_t cols = all.cols;
  const Tile tile = tile_at(args.sums.rows, args.sums.first_tile + blockIdx.x);
  const bool wants_products = of_slot(args.sums.products, tile.slot) != nullptr;
  const float* const scale = all.dh != nullptr ? of_slot(args.sums.scale, tile.slot) : nullptr;
  float products[kChunks][kRowChunk], plain[kChunks][kRowChunk];
#pragma unroll
  for (int k = 0; k < kChunks; ++k)
#pragma unroll
    for (int i = 0; i < kRowChunk; ++i) products[k][i] = plain[k][i] = 0.0f;

  Row<T, kChunks> x, grad;
  x.fetch(static_cast<const T*>(all.sum) + tile.begin * cols, cols);
  grad.fetch(static_cast<const T*>(all.grad_normed) + tile.begin * cols, cols);
  for (int64_t row = tile.begin; row < tile.end; ++row) {
    const int64_t at_row = row * cols;
    Row<T, kChunks> grad_sum, h, next_x, next_grad;
    grad_sum.clear();
    h.clear();
    next_x.clear();
    next_grad.clear();
    if (all.grad_sum != nullptr) grad_sum.fetch(static_cast<const T*>(all.grad_sum) + at_row, cols);
    if (wants_products) h.fetch(static_cast<const T*>(args.sums.x) + at_row, cols);
    if (row + 1 < tile.end) {
      next_x.fetch(static_cast<const T*>(all.sum) + at_row + cols, cols);
      next_grad.fetch(static_cast<const T*>(all.grad_normed) + at_row + cols, cols);
    }
    const float inv = all.inv[row];
    float dot = 0.0f;
    for_chunks<kChunks>(cols, [&](int k, int64_t column, int64_t left) {
      float v[kRowChunk], g[kRowChunk];
      x.get(k, column, left, v);
      grad.get(k, column, left, g);
      add_dot<true>(v, g, all.weight, column, left, dot);
    });
    // Two buffers in turn: a warp that is one row ahead writes to the one that is not being read.
    const float factor = norm_factor(row_sum(dot, partial[row % 2]), inv, cols);
    for_chunks<kChunks>(cols, [&](int k, int64_t column, int64_t left) {
      float v[kRowChunk], g[kRowChunk], s[kRowChunk] = {};
      x.get(k, column, left, v);
      grad.get(k, column, left, g);
      if (all.grad_sum != nullptr) grad_sum.get(k, column, left, s);
      finish_chunk<T, true>(all, at_row, scale, v, g, s, inv, factor, column, left);
      if (wants_products) h.get(k, column, left, v);
#pragma unroll
      for (int i = 0; i < kRowChunk; ++i) {
        plain[k][i] += g[i];
        if (wants_products) products[k][i] = fmaf(g[i], v[i], products[k][i]);
      }
    });
    x = next_x;
    grad = next_grad;
  }

  float* const to = args.sums.partials + 2 * static_cast<int64_t>(blockIdx.x) * cols;
  for_chunks<kChunks>(cols, [&](int k, int64_t column, int64_t) {
    if (wants_products) store_packed(to + column, pack<float>(products[k]));
    if (of_slot(args.sums.plain, tile.slot) != nullptr) store_packed(to + cols + column, pack<float>(plain[k]));
  });
}

inline bool weights_aligned(const EditAddNormSlotsArgs&) { return true; }
inline bool weights_aligned(const EditAddSlotNormArgs& args) { return args.weight.aligned; }
inline bool weights_aligned(const EditAddNormBackwardSlotsArgs&) { return true; }
inline bool weights_aligned(const EditAddSlotNormBackwardArgs& args) { return args.weight.aligned; }

template <typename T, typename Args>
int32_t forward(const Args& args, RubricateStream* stream) {
  const EditAddNormArgs& all = args.all;
  const bool aligned = aligned_16(all.h) && aligned_16(all.residual) && aligned_16(all.sum) && aligned_16(all.normed) &&
                       aligned_16(all.weight) && args.scale.aligned && args.bias.aligned && weights_aligned(args);
  return for_row_shape(all.cols, aligned, [&](auto chunks) {
    return RUBRICATE_LAUNCH((edit_add_norm_forward<T, decltype(chunks)::value, Args>), blocks_for(all.end, 1),
                            row_shape(all.cols).threads, 0, stream, args);
  });
}

template <typename T, typename Args>
int32_t backward(const Args& args, RubricateStream* stream) {
  const EditAddNormBackwardArgs& all = args.all;
  const bool summed = args.sums.partials != nullptr;
  const bool aligned = aligned_16(all.sum) && aligned_16(all.grad_normed) && aligned_16(all.grad_sum) &&
                       aligned_16(all.g) && aligned_16(all.dh) && aligned_16(all.weight) && sums_aligned(args.sums) &&
                       weights_aligned(args);
  const int threads = row_shape(all.cols).threads;
  const int32_t launched = for_row_shape(all.cols, aligned, [&](auto chunks) {
    constexpr int kChunks = decltype(chunks)::value;
    // Otherwise there are not enough registers, or each row needs its own weight.
    if constexpr ((kChunks == 1 || (kChunks == 2 && sizeof(T) == 2)) && !kSlotNorm<Args>) {
      const int64_t tiles = args.sums.last_tile - args.sums.first_tile;
      if (summed && tiles >= stream->multiprocessors) {
        const int32_t status =
            RUBRICATE_LAUNCH((edit_add_norm_backward_sums<T, kChunks>), blocks_for(tiles, 1), threads, 0, stream, args);
        return status == RUBRICATE_OK ? launch_fold(args.sums, stream) : status;
      }
    }
    const int32_t status = RUBRICATE_LAUNCH((edit_add_norm_backward<T, kChunks, Args>),
                                            blocks_for(all.end - all.begin, 1), threads, 0, stream, args);
    if (status != RUBRICATE_OK || !summed) return status;
    SlotSumsArgs sums = args.sums;
    sums.dh = nullptr;  // already written
    const int32_t added = launch_tile_sums(sums, stream);
    return added == RUBRICATE_OK ? launch_fold(sums, stream) : added;
  });
  return launched;
}

template <typename Args>
int32_t forward_of(const Args& args, RubricateStream* stream) {
  if (args.all.end == 0 || args.all.cols == 0) return RUBRICATE_OK;
  return args.all.dtype == DType::bf16 ? forward<bf16>(args, stream) : forward<float>(args, stream);
}
template <typename Args>
int32_t backward_of(const Args& args, RubricateStream* stream) {
  if (args.all.end == args.all.begin || args.all.cols == 0) return RUBRICATE_OK;
  return args.all.dtype == DType::bf16 ? backward<bf16>(args, stream) : backward<float>(args, stream);
}

int32_t edit_add_norm_forward_cuda(const EditAddNormSlotsArgs& args, RubricateStream* stream) {
  return forward_of(args, stream);
}
int32_t edit_add_norm_backward_cuda(const EditAddNormBackwardSlotsArgs& args, RubricateStream* stream) {
  return backward_of(args, stream);
}
int32_t edit_add_slot_norm_forward_cuda(const EditAddSlotNormArgs& args, RubricateStream* stream) {
  return forward_of(args, stream);
}
int32_t edit_add_slot_norm_backward_cuda(const EditAddSlotNormBackwardArgs& args, RubricateStream* stream) {
  return backward_of(args, stream);
}

RUBRICATE_KERNEL("edit_add_norm_forward/1", edit_add_norm_forward_cuda);
RUBRICATE_KERNEL("edit_add_norm_backward/1", edit_add_norm_backward_cuda);
RUBRICATE_KERNEL("edit_add_slot_norm_forward/1", edit_add_slot_norm_forward_cuda);
RUBRICATE_KERNEL("edit_add_slot_norm_backward/1", edit_add_slot_norm_backward_cuda);

}  // namespace
}  // namespace rubricate::cuda
