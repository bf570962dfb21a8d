// LayerNorm with each row's slot's weight and bias (layer_norm.h): one block per row, which stays in registers for the
// mean, the variance, and the result.
//
// Memory-bound: forward moves 2 elements of memory for about 7 operations (4 bytes in bf16), backward 3 (6 bytes) for
// about 12; the vectors come from the cache. Their gradients are computed by row_sums_cuda.cu: 2 elements more.
#include "ops/layer_norm/layer_norm_kernels.h"
#include "ops/slots/slots.cuh"

namespace rubricate::cuda {
namespace {

// A row of a slot without weight keeps its bits.
template <bool kWhole, int kChunks, typename T>
__device__ __forceinline__ void copy_row(const Row<T, kChunks>& from, T* to, int64_t cols) {
  for_chunks<kChunks>(cols, [&](int k, int64_t column, int64_t left) {
    if constexpr (kWhole) {
      store_packed(to + column, from.chunks[k]);
    } else {
      for (int i = 0; i < kRowChunk && i < left; ++i) to[column + i] = from.from[column + i];
    }
  });
}

template <bool kOwn>
__device__ __forceinline__ const float* vector_of(const SlotTable<const float*>& table, int32_t slot,
                                                  const float* own) {
  return kOwn ? of_slot_or(table, slot, own) : of_slot(table, slot);
}

// kOwn: a norm of the model, whose weight and bias serve the slots that have none.
template <typename T, int kChunks, bool kOwn>
__global__ void __launch_bounds__(kRowThreads<kChunks>) layer_norm_forward(LayerNormSlotsArgs args) {
  constexpr bool kWhole = kChunks > 0;
  RUBRICATE_SHARED(float[2][kRowPartials], partial);
  const LayerNormArgs& all = args.all;
  const int64_t cols = all.cols, row = blockIdx.x;
  Row<T, kChunks> x;
  x.fetch(static_cast<const T*>(all.x) + row * cols, cols);
  T* const y = static_cast<T*>(all.y) + row * cols;
  const int32_t slot = slot_of_row(args.rows, row);
  const float* const weight = vector_of<kOwn>(args.weight, slot, all.weight);
  const float* const bias = vector_of<kOwn>(args.bias, slot, all.bias);
  if (!kOwn && weight == nullptr) return copy_row<kWhole>(x, y, cols);
  float total = 0.0f;
  for_chunks<kChunks>(cols, [&](int k, int64_t column, int64_t left) {
    float v[kRowChunk];
    x.get(k, column, left, v);
#pragma unroll
    for (int i = 0; i < kRowChunk; ++i) total += v[i];
  });
  const float mean = row_sum(total, partial[0]) / static_cast<float>(cols);
  float squares = 0.0f;
  for_chunks<kChunks>(cols, [&](int k, int64_t column, int64_t left) {
    float v[kRowChunk];
    x.get(k, column, left, v);
#pragma unroll
    for (int i = 0; i < kRowChunk; ++i) {
      const float centred = kWhole || i < left ? v[i] - mean : 0.0f;
      squares = fmaf(centred, centred, squares);
    }
  });
  const float inv = 1.0f / sqrtf(row_sum(squares, partial[1]) / static_cast<float>(cols) + all.eps);
  if (threadIdx.x == 0) {
    if (all.mean != nullptr) all.mean[row] = mean;
    if (all.inv != nullptr) all.inv[row] = inv;
  }
  for_chunks<kChunks>(cols, [&](int k, int64_t column, int64_t left) {
    float v[kRowChunk];
    x.get(k, column, left, v);
#pragma unroll
    for (int i = 0; i < kRowChunk; ++i) v[i] = (v[i] - mean) * inv;
    edit_chunk<kWhole>(v, weight, bias, column, left);
    store_chunk<kWhole>(y + column, left, v);
  });
}

// dx = r (w g - mean(w g) - n mean(w g n))
template <typename T, int kChunks, bool kOwn>
__global__ void __launch_bounds__(kRowThreads<kChunks>) layer_norm_backward(LayerNormSlotsArgs args) {
  constexpr bool kWhole = kChunks > 0;
  RUBRICATE_SHARED(float[2][kRowPartials], partial);
  const LayerNormArgs& all = args.all;
  const int64_t cols = all.cols, row = blockIdx.x;
  Row<T, kChunks> x, grad;
  grad.fetch(static_cast<const T*>(all.grad) + row * cols, cols);
  T* const dx = static_cast<T*>(all.dx) + row * cols;
  const float* const weight = vector_of<kOwn>(args.weight, slot_of_row(args.rows, row), all.weight);
  if (!kOwn && weight == nullptr) return copy_row<kWhole>(grad, dx, cols);
  x.fetch(static_cast<const T*>(all.x) + row * cols, cols);
  const float mean = all.mean[row], inv = all.inv[row];
  // n and w g of a chunk; w g is 0 beyond the row.
  const auto get = [&](int k, int64_t column, int64_t left, float(&n)[kRowChunk], float(&wg)[kRowChunk]) {
    float w[kRowChunk];
    x.get(k, column, left, n);
    grad.get(k, column, left, wg);
    load_chunk<kWhole>(weight + column, left, w);
#pragma unroll
    for (int i = 0; i < kRowChunk; ++i) {
      n[i] = (n[i] - mean) * inv;
      wg[i] = w[i] * wg[i];
    }
  };
  float plain = 0.0f, products = 0.0f;
  for_chunks<kChunks>(cols, [&](int k, int64_t column, int64_t left) {
    float n[kRowChunk], wg[kRowChunk];
    get(k, column, left, n, wg);
#pragma unroll
    for (int i = 0; i < kRowChunk; ++i) {
      plain += wg[i];
      products = fmaf(wg[i], n[i], products);
    }
  });
  const float a = row_sum(plain, partial[0]) / static_cast<float>(cols);
  const float b = -row_sum(products, partial[1]) / static_cast<float>(cols);
  for_chunks<kChunks>(cols, [&](int k, int64_t column, int64_t left) {
    float n[kRowChunk], wg[kRowChunk];
    get(k, column, left, n, wg);
#pragma unroll
    for (int i = 0; i < kRowChunk; ++i) wg[i] = inv * fmaf(n[i], b, wg[i] - a);
    store_chunk<kWhole>(dx + column, left, wg);
  });
}

template <typename T, bool kOwn>
int32_t forward(const LayerNormSlotsArgs& args, RubricateStream* stream) {
  const LayerNormArgs& all = args.all;
  const bool aligned = aligned_16(all.x) && aligned_16(all.y) && args.weight.aligned && args.bias.aligned &&
                       aligned_16(all.weight) && aligned_16(all.bias);
  return for_row_shape(all.cols, aligned, [&](auto chunks) {
    return RUBRICATE_LAUNCH((layer_norm_forward<T, decltype(chunks)::value, kOwn>), blocks_for(all.end, 1),
                            row_shape(all.cols).threads, 0, stream, args);
  });
}
template <typename T, bool kOwn>
int32_t backward(const LayerNormSlotsArgs& args, RubricateStream* stream) {
  const LayerNormArgs& all = args.all;
  const bool aligned =
      aligned_16(all.x) && aligned_16(all.grad) && aligned_16(all.dx) && args.weight.aligned && aligned_16(all.weight);
  return for_row_shape(all.cols, aligned, [&](auto chunks) {
    return RUBRICATE_LAUNCH((layer_norm_backward<T, decltype(chunks)::value, kOwn>), blocks_for(all.end, 1),
                            row_shape(all.cols).threads, 0, stream, args);
  });
}

int32_t layer_norm_forward_cuda(const LayerNormSlotsArgs& args, RubricateStream* stream) {
  if (args.all.end == 0 || args.all.cols == 0) return RUBRICATE_OK;
  const bool own = args.all.weight != nullptr;
  if (args.all.dtype == DType::bf16)
    return own ? forward<bf16, true>(args, stream) : forward<bf16, false>(args, stream);
  return own ? forward<float, true>(args, stream) : forward<float, false>(args, stream);
}
int32_t layer_norm_backward_cuda(const LayerNormSlotsArgs& args, RubricateStream* stream) {
  if (args.all.end == 0 || args.all.cols == 0) return RUBRICATE_OK;
  const bool own = args.all.weight != nullptr;
  if (args.all.dtype == DType::bf16)
    return own ? backward<bf16, true>(args, stream) : backward<bf16, false>(args, stream);
  return own ? backward<float, true>(args, stream) : backward<float, false>(args, stream);
}

RUBRICATE_KERNEL("layer_norm_forward/1", layer_norm_forward_cuda);
RUBRICATE_KERNEL("layer_norm_backward/1", layer_norm_backward_cuda);

}  // namespace
}  // namespace rubricate::cuda
