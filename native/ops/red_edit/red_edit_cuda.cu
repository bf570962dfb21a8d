// The RED edit (red_edit.h): y = fma(scale, h, bias), each row with its slot's vectors. A thread has 8 columns of up to
// 16 rows of one sequence, so that it reads scale and bias once for them.
//
// Memory-bound: 2 elements of memory per element (4 bytes in bf16, 8 in fp32), and 8 / 16 bytes of vectors from the
// cache; one fused multiply-add.
#include "ops/red_edit/red_edit_kernels.h"
#include "ops/slots/slots.cuh"

namespace rubricate::cuda {
namespace {

constexpr int kThreads = 64;
constexpr int kAtOnce = 4;  // rows in flight

template <typename T, bool kWhole>
__global__ void __launch_bounds__(kThreads) red_edit(EditArgs args, int64_t strips) {
  const int64_t column = (blockIdx.x % strips * kThreads + threadIdx.x) * kRowChunk, left = args.cols - column;
  if (left <= 0) return;
  const Tile tile = tile_at(args.rows, blockIdx.x / strips);
  const float* const scale = of_slot(args.scale, tile.slot);
  const float* const bias = of_slot(args.bias, tile.slot);
  const T* h = static_cast<const T*>(args.h) + tile.begin * args.cols + column;
  T* y = static_cast<T*>(args.y) + tile.begin * args.cols + column;
  const int64_t rows = tile.end - tile.begin;
  if constexpr (kWhole) {
    float s[kRowChunk], b[kRowChunk];
#pragma unroll
    for (int i = 0; i < kRowChunk; ++i) s[i] = 1.0f, b[i] = 0.0f;
    if (scale != nullptr) load_chunk<true>(scale + column, left, s);
    if (bias != nullptr) load_chunk<true>(bias + column, left, b);
    for (int64_t t = 0; t < rows; t += kAtOnce) {
      Packed<T> packed[kAtOnce];
#pragma unroll
      for (int r = 0; r < kAtOnce; ++r)
        if (t + r < rows) packed[r] = load_packed_once(h + (t + r) * args.cols);
#pragma unroll
      for (int r = 0; r < kAtOnce; ++r) {
        if (t + r >= rows) break;
        if (scale != nullptr || bias != nullptr) {  // otherwise the exact bits are copied, NaN included
          float values[kRowChunk];
          unpack(packed[r], values);
#pragma unroll
          for (int i = 0; i < kRowChunk; ++i)
            values[i] = bias == nullptr ? s[i] * values[i] : fmaf(s[i], values[i], b[i]);
          packed[r] = pack<T>(values);
        }
        store_packed(y + (t + r) * args.cols, packed[r]);
      }
    }
  } else {
    for (int64_t t = 0; t < rows; ++t, h += args.cols, y += args.cols) {
      for (int i = 0; i < kRowChunk && i < left; ++i) {
        if (scale == nullptr && bias == nullptr) {
          y[i] = h[i];
          continue;
        }
        const float s = scale != nullptr ? scale[column + i] : 1.0f, x = widen(h[i]);
        y[i] = narrow<T>(bias == nullptr ? s * x : fmaf(s, x, bias[column + i]));
      }
    }
  }
}

template <typename T>
int32_t edit(const EditArgs& args, RubricateStream* stream) {
  const int64_t strips = (args.cols + kThreads * kRowChunk - 1) / (kThreads * kRowChunk);
  const unsigned blocks = blocks_for(strips * args.rows.tile_count, 1);
  if (args.cols % kRowChunk == 0 && aligned_16(args.h) && aligned_16(args.y) && args.scale.aligned && args.bias.aligned)
    return RUBRICATE_LAUNCH((red_edit<T, true>), blocks, kThreads, 0, stream, args, strips);
  return RUBRICATE_LAUNCH((red_edit<T, false>), blocks, kThreads, 0, stream, args, strips);
}

int32_t red_edit_cuda(const EditArgs& args, RubricateStream* stream) {
  if (args.cols == 0 || args.rows.rows == 0) return RUBRICATE_OK;
  return args.dtype == DType::bf16 ? edit<bf16>(args, stream) : edit<float>(args, stream);
}

RUBRICATE_KERNEL("red_edit/1", red_edit_cuda);

}  // namespace
}  // namespace rubricate::cuda
