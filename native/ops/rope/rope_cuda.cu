// Rotary embedding (rope.h): one block per row; a thread rotates 8 pairs of a head at a time, or copies 8
// components that are not rotated.
//
// Memory-bound: 2 elements of memory per element (4 bytes in bf16) and 3 operations. cos and sin, 8 bytes per pair, are
// read from memory once per row, and then from the cache for each head.
#include "base/integers.h"
#include "ops/rope/rope_kernels.h"
#include "ops/shared/rows.cuh"

namespace rubricate::cuda {
namespace {

constexpr int kMostThreads = 256;

template <typename X, typename Y, bool kWhole>
__global__ void __launch_bounds__(kMostThreads) rope(RopeArgs args, int chunks, int copies) {
  const int64_t row = blockIdx.x, half = args.half;
  const float* const cos = args.cos + args.positions[row] * half;
  const float* const sin = args.sin + args.positions[row] * half;
  const float sign = args.backward ? -1.0f : 1.0f;
  const int parts = chunks + copies, items = static_cast<int>(args.heads) * parts;
  for (int item = static_cast<int>(threadIdx.x); item < items; item += static_cast<int>(blockDim.x)) {
    const int part = item % parts;
    const int64_t head = (row * args.heads + item / parts) * args.head_dim;
    if (part >= chunks) {
      const int64_t i = 2 * half + static_cast<int64_t>(part - chunks) * kRowChunk, left = args.head_dim - i;
      float values[kRowChunk];
      load_chunk<kWhole>(static_cast<const X*>(args.x) + head + i, left, values);
      store_chunk<kWhole>(static_cast<Y*>(args.y) + head + i, left, values);
      continue;
    }
    const int64_t i = static_cast<int64_t>(part) * kRowChunk, left = half - i, first = head + i;
    const X* const x = static_cast<const X*>(args.x) + first;
    Y* const y = static_cast<Y*>(args.y) + first;
    float c[kRowChunk], s[kRowChunk], x1[kRowChunk], x2[kRowChunk], y1[kRowChunk], y2[kRowChunk];
    load_chunk<kWhole>(x, left, x1);
    load_chunk<kWhole>(x + half, left, x2);
    load_chunk<kWhole>(cos + i, left, c);
    load_chunk<kWhole>(sin + i, left, s);
#pragma unroll
    for (int j = 0; j < kRowChunk; ++j) {
      s[j] = sign * s[j];
      y1[j] = fmaf(x1[j], c[j], x2[j] * (0.0f - s[j]));
      y2[j] = fmaf(x2[j], c[j], x1[j] * s[j]);
    }
    store_chunk<kWhole>(y, left, y1);
    store_chunk<kWhole>(y + half, left, y2);
  }
}

template <typename X, typename Y>
int32_t run(const RopeArgs& args, RubricateStream* stream) {
  const int chunks = static_cast<int>(ceil_div(args.half, kRowChunk));
  const int copies = static_cast<int>(ceil_div(args.head_dim - 2 * args.half, kRowChunk));
  const int64_t items = args.heads * (chunks + copies);
  const int threads = static_cast<int>(std::min<int64_t>(kMostThreads, round_up(items, kWarpSize)));
  const bool whole = args.half % kRowChunk == 0 && args.head_dim % kRowChunk == 0 && aligned_16(args.x) &&
                     aligned_16(args.y) && aligned_16(args.cos) && aligned_16(args.sin);
  if (whole)
    return RUBRICATE_LAUNCH((rope<X, Y, true>), blocks_for(args.rows, 1), threads, 0, stream, args, chunks, copies);
  return RUBRICATE_LAUNCH((rope<X, Y, false>), blocks_for(args.rows, 1), threads, 0, stream, args, chunks, copies);
}

int32_t rope_cuda(const RopeArgs& args, RubricateStream* stream) {
  if (args.rows == 0) return RUBRICATE_OK;
  if (args.x_dtype == DType::bf16)
    return args.y_dtype == DType::bf16 ? run<bf16, bf16>(args, stream) : run<bf16, float>(args, stream);
  return args.y_dtype == DType::bf16 ? run<float, bf16>(args, stream) : run<float, float>(args, stream);
}

RUBRICATE_KERNEL("rope/2", rope_cuda);

}  // namespace
}  // namespace rubricate::cuda
