// Rotary embedding (rope.h): one block per row; a thread rotates 8 pairs of a head at a time.
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
__global__ void __launch_bounds__(kMostThreads) rope(RopeArgs args, int chunks) {
  const int64_t row = blockIdx.x, half = args.half;
  const float* const cos = args.cos + args.positions[row] * half;
  const float* const sin = args.sin + args.positions[row] * half;
  const float sign = args.backward ? -1.0f : 1.0f;
  const int items = static_cast<int>(args.heads) * chunks;
  for (int item = static_cast<int>(threadIdx.x); item < items; item += static_cast<int>(blockDim.x)) {
    const int64_t i = static_cast<int64_t>(item % chunks) * kRowChunk, left = half - i;
    const int64_t first = (row * args.heads + item / chunks) * args.head_dim + i;
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

// The components of a head that are not rotated. A kernel of its own: in `rope` it would cost registers of every model.
template <typename X, typename Y, bool kWhole>
__global__ void __launch_bounds__(kMostThreads) rope_rest(RopeArgs args, int chunks) {
  const int64_t row = blockIdx.x, begin = 2 * args.half;
  const int items = static_cast<int>(args.heads) * chunks;
  for (int item = static_cast<int>(threadIdx.x); item < items; item += static_cast<int>(blockDim.x)) {
    const int64_t i = begin + static_cast<int64_t>(item % chunks) * kRowChunk;
    const int64_t first = (row * args.heads + item / chunks) * args.head_dim + i;
    float values[kRowChunk];
    load_chunk<kWhole>(static_cast<const X*>(args.x) + first, args.head_dim - i, values);
    store_chunk<kWhole>(static_cast<Y*>(args.y) + first, args.head_dim - i, values);
  }
}

template <typename X, typename Y>
int32_t run(const RopeArgs& args, RubricateStream* stream) {
  const int chunks = static_cast<int>(ceil_div(args.half, kRowChunk));
  const int rest = static_cast<int>(ceil_div(args.head_dim - 2 * args.half, kRowChunk));
  const auto threads = [&](int per_head) {
    return static_cast<int>(std::min<int64_t>(kMostThreads, round_up(args.heads * per_head, kWarpSize)));
  };
  const unsigned blocks = blocks_for(args.rows, 1);
  const bool whole = args.half % kRowChunk == 0 && args.head_dim % kRowChunk == 0 && aligned_16(args.x) &&
                     aligned_16(args.y) && aligned_16(args.cos) && aligned_16(args.sin);
  const int32_t status = whole
                             ? RUBRICATE_LAUNCH((rope<X, Y, true>), blocks, threads(chunks), 0, stream, args, chunks)
                             : RUBRICATE_LAUNCH((rope<X, Y, false>), blocks, threads(chunks), 0, stream, args, chunks);
  if (status != RUBRICATE_OK || rest == 0) return status;
  if (whole) return RUBRICATE_LAUNCH((rope_rest<X, Y, true>), blocks, threads(rest), 0, stream, args, rest);
  return RUBRICATE_LAUNCH((rope_rest<X, Y, false>), blocks, threads(rest), 0, stream, args, rest);
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
