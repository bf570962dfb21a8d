// The device's peak rate for the instructions that the project's kernels use: independent chains in registers, no
// memory. The tensor cores of GPUs with wgmma (sm_90) or tcgen05 (sm_100) can be faster.
#include "device/cuda/kernel.h"
#include "mma_peak_kernels.h"

namespace rubricate::cuda {
namespace {

using bench::kPeakThreads;
using bench::MmaPeakArgs;

__global__ void __launch_bounds__(kPeakThreads) peak_bf16(MmaPeakArgs args) {
  constexpr int kChains = 8;
  const uint32_t pair = 0x3c003c00u + threadIdx.x;  // two small numbers
  const uint32_t a[4] = {pair, pair + 1, pair + 2, pair + 3}, b[2] = {pair + 4, pair + 5};
  float d[kChains][4] = {};
  for (int64_t step = 0; step < args.steps; ++step)
#pragma unroll
    for (int chain = 0; chain < kChains; ++chain) mma_bf16(d[chain], a, b);
  float sum = 0.0f;
#pragma unroll
  for (int chain = 0; chain < kChains; ++chain) sum += d[chain][0] + d[chain][1] + d[chain][2] + d[chain][3];
  args.out[static_cast<int64_t>(blockIdx.x) * kPeakThreads + threadIdx.x] = sum;
}

__global__ void __launch_bounds__(kPeakThreads) peak_f32(MmaPeakArgs args) {
  constexpr int kChains = 16;
  const float x = 1.0f - 0x1p-20f * static_cast<float>(threadIdx.x), y = 0x1p-10f;
  float d[kChains];
#pragma unroll
  for (int chain = 0; chain < kChains; ++chain) d[chain] = static_cast<float>(chain);
  for (int64_t step = 0; step < args.steps; ++step)
#pragma unroll
    for (int chain = 0; chain < kChains; ++chain) d[chain] = fmaf(d[chain], x, y);
  float sum = 0.0f;
#pragma unroll
  for (int chain = 0; chain < kChains; ++chain) sum += d[chain];
  args.out[static_cast<int64_t>(blockIdx.x) * kPeakThreads + threadIdx.x] = sum;
}

int32_t mma_peak_cuda(const MmaPeakArgs& args, RubricateStream* stream) {
  const auto blocks = static_cast<unsigned>(args.blocks);
  const auto threads = static_cast<unsigned>(kPeakThreads);
  return args.dtype == DType::bf16 ? RUBRICATE_LAUNCH(peak_bf16, blocks, threads, 0, stream, args)
                                   : RUBRICATE_LAUNCH(peak_f32, blocks, threads, 0, stream, args);
}

RUBRICATE_KERNEL("mma_peak/1", mma_peak_cuda);

}  // namespace
}  // namespace rubricate::cuda
