// RMSNorm (rms_norm.h): one block per row, which stays in registers, so that memory is read once.
//
// Memory-bound: forward moves 2 elements of memory for about 4 operations (4 bytes in bf16), backward 3 (6 bytes) for
// about 7; weights come from the cache. The weight's gradient is computed by row_sums_cuda.cu: 2 elements more.
#include "ops/rms_norm/rms_norm.cuh"
#include "ops/rms_norm/rms_norm_kernels.h"
#include "ops/slots/slots.cuh"

namespace rubricate::cuda {
namespace {

// With one weight for all rows the kernels look up no slot and read the arguments in place; with weights by slot they read
// a copy that has the row's.
__device__ __forceinline__ const RmsNormArgs& all_of(const RmsNormArgs& args, int64_t) { return args; }
__device__ __forceinline__ RmsNormArgs all_of(const RmsNormSlotsArgs& args, int64_t row) {
  RmsNormArgs all = args.all;
  all.weight = of_slot_or(args.weight, slot_of_row(args.rows, row), all.weight);
  return all;
}

template <typename T, int kChunks, typename Args>
__global__ void __launch_bounds__(kRowThreads<kChunks>) rms_norm_forward(Args given) {
  RUBRICATE_SHARED(float[kRowPartials], partial);
  const RmsNormArgs& args = all_of(given, blockIdx.x);
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

template <typename T, int kChunks, typename Args>
__global__ void __launch_bounds__(kRowThreads<kChunks>) rms_norm_backward(Args given) {
  RUBRICATE_SHARED(float[kRowPartials], partial);
  const RmsNormArgs& args = all_of(given, blockIdx.x);
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

inline bool aligned_weights(const RmsNormArgs& args) { return aligned_16(args.weight); }
inline bool aligned_weights(const RmsNormSlotsArgs& args) { return aligned_16(args.all.weight) && args.weight.aligned; }

template <typename T, typename Args>
int32_t forward(const Args& given, const RmsNormArgs& args, RubricateStream* stream) {
  const bool aligned = aligned_16(args.x) && aligned_16(args.y) && aligned_weights(given);
  return for_row_shape(args.cols, aligned, [&](auto chunks) {
    return RUBRICATE_LAUNCH((rms_norm_forward<T, decltype(chunks)::value, Args>), blocks_for(args.end, 1),
                            row_shape(args.cols).threads, 0, stream, given);
  });
}
template <typename T, typename Args>
int32_t backward(const Args& given, const RmsNormArgs& args, RubricateStream* stream) {
  const bool aligned = aligned_16(args.x) && aligned_16(args.grad) && aligned_16(args.dx) && aligned_weights(given);
  return for_row_shape(args.cols, aligned, [&](auto chunks) {
    return RUBRICATE_LAUNCH((rms_norm_backward<T, decltype(chunks)::value, Args>), blocks_for(args.end, 1),
                            row_shape(args.cols).threads, 0, stream, given);
  });
}

template <typename Args>
int32_t forward_of(const Args& given, const RmsNormArgs& args, RubricateStream* stream) {
  if (args.end == 0 || args.cols == 0) return RUBRICATE_OK;
  return args.dtype == DType::bf16 ? forward<bf16>(given, args, stream) : forward<float>(given, args, stream);
}
template <typename Args>
int32_t backward_of(const Args& given, const RmsNormArgs& args, RubricateStream* stream) {
  if (args.end == 0 || args.cols == 0) return RUBRICATE_OK;
  return args.dtype == DType::bf16 ? backward<bf16>(given, args, stream) : backward<float>(given, args, stream);
}

int32_t rms_norm_forward_cuda(const RmsNormArgs& args, RubricateStream* stream) {
  return forward_of(args, args, stream);
}
int32_t rms_norm_backward_cuda(const RmsNormArgs& args, RubricateStream* stream) {
  return backward_of(args, args, stream);
}
int32_t rms_norm_slots_forward_cuda(const RmsNormSlotsArgs& args, RubricateStream* stream) {
  return forward_of(args, args.all, stream);
}
int32_t rms_norm_slots_backward_cuda(const RmsNormSlotsArgs& args, RubricateStream* stream) {
  return backward_of(args, args.all, stream);
}

RUBRICATE_KERNEL("rms_norm_forward/1", rms_norm_forward_cuda);
RUBRICATE_KERNEL("rms_norm_backward/1", rms_norm_backward_cuda);
RUBRICATE_KERNEL("rms_norm_slots_forward/1", rms_norm_slots_forward_cuda);
RUBRICATE_KERNEL("rms_norm_slots_backward/1", rms_norm_slots_backward_cuda);

}  // namespace
}  // namespace rubricate::cuda
