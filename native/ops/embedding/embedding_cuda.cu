// Token embedding (embedding.h).
//
//   forward    a block copies a token's row: 2 elements of memory per element (4 bytes in bf16)
//   backward   a thread has 8 columns of one token's gradient and adds the token's rows in order: 1 element of memory
//              per element (2 bytes), and 8 bytes for each column and distinct token
#include "ops/embedding/embedding_kernels.h"
#include "ops/shared/rows.cuh"

namespace rubricate::cuda {
namespace {

constexpr int kMostThreads = 256;

// A complete chunk of W, 8 elements, is 16 or 32 bytes.
template <typename W, typename T, bool kWhole>
__global__ void __launch_bounds__(kMostThreads) embedding_forward(EmbeddingRowsArgs args) {
  const int64_t t = blockIdx.x;
  const W* const from = static_cast<const W*>(args.weight) + args.tokens[t] * args.stride;
  T* const to = static_cast<T*>(args.y) + t * args.cols;
  for_chunks<0>(args.cols, [&](int, int64_t column, int64_t left) {
    float values[kRowChunk];
    load_chunk<kWhole>(from + column, left, values);
    store_chunk<kWhole>(to + column, left, values);
  });
}

constexpr int kSumThreads = 64;
constexpr int kAtOnce = 4;

template <typename T, bool kWhole>
__global__ void __launch_bounds__(kSumThreads) embedding_backward(EmbeddingSumsArgs args, int64_t strips) {
  const int64_t column = (blockIdx.x % strips * kSumThreads + threadIdx.x) * kRowChunk, left = args.cols - column;
  if (left <= 0) return;
  const int64_t group = blockIdx.x / strips;
  float* const sum = args.dweight + args.tokens[group] * args.cols + column;
  const T* const grad = static_cast<const T*>(args.grad) + column;
  float total[kRowChunk];
  load_chunk<kWhole>(sum, left, total);
  const int64_t end = args.starts[group + 1];
  for (int64_t first = args.starts[group]; first < end; first += kAtOnce) {
    float rows[kAtOnce][kRowChunk];
#pragma unroll
    for (int r = 0; r < kAtOnce; ++r)
      if (first + r < end) load_chunk<kWhole>(grad + args.order[first + r] * args.cols, left, rows[r]);
#pragma unroll
    for (int r = 0; r < kAtOnce; ++r) {
      if (first + r >= end) break;
#pragma unroll
      for (int i = 0; i < kRowChunk; ++i) total[i] += rows[r][i];
    }
  }
  store_chunk<kWhole>(sum, left, total);
}

template <typename W, typename T>
int32_t forward(const EmbeddingRowsArgs& args, RubricateStream* stream) {
  const int threads = std::min(kMostThreads, row_shape(args.cols).threads);
  const bool whole =
      args.cols % kRowChunk == 0 && args.stride % kLanes<W> == 0 && aligned_16(args.weight) && aligned_16(args.y);
  if (whole)
    return RUBRICATE_LAUNCH((embedding_forward<W, T, true>), blocks_for(args.count, 1), threads, 0, stream, args);
  return RUBRICATE_LAUNCH((embedding_forward<W, T, false>), blocks_for(args.count, 1), threads, 0, stream, args);
}
template <typename W>
int32_t forward_from(const EmbeddingRowsArgs& args, RubricateStream* stream) {
  return args.dtype == DType::bf16 ? forward<W, bf16>(args, stream) : forward<W, float>(args, stream);
}
int32_t embedding_forward_cuda(const EmbeddingRowsArgs& args, RubricateStream* stream) {
  if (args.count == 0 || args.cols == 0) return RUBRICATE_OK;
  switch (args.weight_dtype) {
    case DType::bf16:
      return forward_from<bf16>(args, stream);
    case DType::f16:
      return forward_from<f16>(args, stream);
    default:
      return forward_from<float>(args, stream);
  }
}

template <typename T>
int32_t backward(const EmbeddingSumsArgs& args, RubricateStream* stream) {
  const int64_t strips = (args.cols + kSumThreads * kRowChunk - 1) / (kSumThreads * kRowChunk);
  const unsigned blocks = blocks_for(args.groups * strips, 1);
  if (args.cols % kRowChunk == 0 && aligned_16(args.grad) && aligned_16(args.dweight))
    return RUBRICATE_LAUNCH((embedding_backward<T, true>), blocks, kSumThreads, 0, stream, args, strips);
  return RUBRICATE_LAUNCH((embedding_backward<T, false>), blocks, kSumThreads, 0, stream, args, strips);
}
int32_t embedding_backward_cuda(const EmbeddingSumsArgs& args, RubricateStream* stream) {
  if (args.groups == 0 || args.cols == 0) return RUBRICATE_OK;
  return args.dtype == DType::bf16 ? backward<bf16>(args, stream) : backward<float>(args, stream);
}

RUBRICATE_KERNEL("embedding_forward/1", embedding_forward_cuda);
RUBRICATE_KERNEL("embedding_backward/1", embedding_backward_cuda);

}  // namespace
}  // namespace rubricate::cuda
