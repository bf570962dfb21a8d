// RMSNorm (rms_norm.h): one block per row, which stays in registers, so that memory is read once.
//
// Memory-bound: forward moves 2 elements of memory for about 4 operations (4 bytes in bf16), backward 3 (6 bytes) for
// about 7; weights come from the cache. The weight's gradient is computed by row_sums_cuda.cu: 2 elements more.
#include "ops/rms_norm/rms_norm.cuh"
#include "ops/rms_norm/rms_norm_kernels.h"

namespace rubricate::cuda {
namespace {

template <typename T, int kChunks>
__global__ void __launch_bounds__(kRowThreads<kChunks>) rms_norm_forward(RmsNormArgs args) {
  RUBRICATE_SHARED(float[kRowPartials], partial);
  const int64_t cols = args.cols, row = blockIdx.x;
  Row<T, kChunks> x;
  x.fetch(static_cast<const T*>(args.x) + row * cols, cols);
  float squares = 0.0f;
  for_chunks<kChunks>(cols, [&](int k, int64_t column, int64_t left) {
    float v[kRowChunk];
    x.get(k, column, left, v);
    add_squares(v, squares);
  });
  const float inv = inverse_rms(row_sum(squares, partial), cols, args.eps);
  if (args.inv != nullptr && threadIdx.x == 0) args.inv[row] = inv;
  T* const y = static_cast<T*>(args.y) + row * cols;
  for_chunks<kChunks>(cols, [&](int k, int64_t column, int64_t left) {
    float v[kRowChunk];
    x.get(k, column, left, v);
    norm_chunk<(kChunks > 0)>(v, args.weight, inv, column, left);
    store_chunk<(kChunks > 0)>(y + column, left, v);
  });
}

template <typename T, int kChunks>
__global__ void __launch_bounds__(kRowThreads<kChunks>) rms_norm_backward(RmsNormArgs args) {
  RUBRICATE_SHARED(float[kRowPartials], partial);
  const int64_t cols = args.cols, row = blockIdx.x;
  Row<T, kChunks> x, grad;
  x.fetch(static_cast<const T*>(args.x) + row * cols, cols);
  grad.fetch(static_cast<const T*>(args.grad) + row * cols, cols);
  const float inv = args.inv[row];
  float dot = 0.0f;
  for_chunks<kChunks>(cols, [&](int k, int64_t column, int64_t left) {
    float v[kRowChunk], g[kRowChunk];
    x.get(k, column, left, v);
    grad.get(k, column, left, g);
    add_dot<(kChunks > 0)>(v, g, args.weight, column, left, dot);
  });
  const float factor = norm_factor(row_sum(dot, partial), inv, cols);
  T* const dx = static_cast<T*>(args.dx) + row * cols;
  for_chunks<kChunks>(cols, [&](int k, int64_t column, int64_t left) {
    float v[kRowChunk], g[kRowChunk];
    x.get(k, column, left, v);
    grad.get(k, column, left, g);
    norm_backward_chunk<(kChunks > 0)>(v, g, args.weight, inv, factor, column, left);
    store_chunk<(kChunks > 0)>(dx + column, left, g);
  });
}

template <typename T>
int32_t forward(const RmsNormArgs& args, RubricateStream* stream) {
  const bool aligned = aligned_16(args.x) && aligned_16(args.y) && aligned_16(args.weight);
  return for_row_shape(args.cols, aligned, [&](auto chunks) {
    return RUBRICATE_LAUNCH((rms_norm_forward<T, decltype(chunks)::value>), blocks_for(args.end, 1),
                            row_shape(args.cols).threads, 0, stream, args);
  });
}
template <typename T>
int32_t backward(const RmsNormArgs& args, RubricateStream* stream) {
  const bool aligned = aligned_16(args.x) && aligned_16(args.grad) && aligned_16(args.dx) && aligned_16(args.weight);
  return for_row_shape(args.cols, aligned, [&](auto chunks) {
    return RUBRICATE_LAUNCH((rms_norm_backward<T, decltype(chunks)::value>), blocks_for(args.end, 1),
                            row_shape(args.cols).threads, 0, stream, args);
  });
}

int32_t rms_norm_forward_cuda(const RmsNormArgs& args, RubricateStream* stream) {
  if (args.end == 0 || args.cols == 0) return RUBRICATE_OK;
  return args.dtype == DType::bf16 ? forward<bf16>(args, stream) : forward<float>(args, stream);
}
int32_t rms_norm_backward_cuda(const RmsNormArgs& args, RubricateStream* stream) {
  if (args.end == 0 || args.cols == 0) return RUBRICATE_OK;
  return args.dtype == DType::bf16 ? backward<bf16>(args, stream) : backward<float>(args, stream);
}

RUBRICATE_KERNEL("rms_norm_forward/1", rms_norm_forward_cuda);
RUBRICATE_KERNEL("rms_norm_backward/1", rms_norm_backward_cuda);

}  // namespace
}  // namespace rubricate::cuda
