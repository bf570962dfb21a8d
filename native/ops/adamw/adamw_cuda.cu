// AdamW's update and the sums of squares for the gradient norm (optimizer/gradient_norm.h).
//
// Memory-bound: 4 fp32 read and 3 written, 28 bytes for 15 operations, or 32 bytes with a decay target for each
// element. The sums read 4 bytes for 2 operations in double. 4 threads share the 16 chains of a block of 4,096 values,
// 4 chains each, and add them in the order of the CPU kernel: squares are exact in double, so both give the same bits.
#include "ops/adamw/adamw_kernels.h"
#include "ops/shared/rows.cuh"
#include "ops/shared/search.cuh"

namespace rubricate::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kValues = 4;  // of fp32 in 16 bytes

template <bool kAligned, bool kTargets>
__global__ void __launch_bounds__(kThreads) adamw(AdamWArgs args) {
  const int64_t at = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kValues, left = args.count - at;
  if (left <= 0) return;
  float p[kValues], g[kValues], m[kValues], v[kValues], target[kValues];
  load_lanes<kAligned>(args.parameters + at, left, p);
  load_lanes<kAligned>(args.grad + at, left, g);
  load_lanes<kAligned>(args.m + at, left, m);
  load_lanes<kAligned>(args.v + at, left, v);
  if constexpr (kTargets) load_lanes<kAligned>(args.decay_targets + at, left, target);
#pragma unroll
  for (int i = 0; i < kValues; ++i) {
    const float scaled = g[i] * args.grad_scale;
    p[i] = fmaf(-args.decay, p[i] - (kTargets ? target[i] : args.decay_target), p[i]);
    m[i] = fmaf(args.one_minus_beta1, scaled - m[i], m[i]);
    v[i] = fmaf(args.one_minus_beta2 * scaled, scaled, args.beta2 * v[i]);
    const float denominator = sqrtf(v[i]) / args.root_correction + args.eps;
    p[i] = fmaf(-args.step_size, m[i] / denominator, p[i]);
  }
  store_lanes<kAligned>(args.parameters + at, left, p);
  store_lanes<kAligned>(args.m + at, left, m);
  store_lanes<kAligned>(args.v + at, left, v);
}

constexpr int kSumThreads = 128;
constexpr int kThreadsOfBlock = 4;
constexpr int kAtOnce = 8;

__global__ void __launch_bounds__(kSumThreads) square_sums(SquareSumsArgs args) {
  constexpr int kGroups = kSumThreads / kThreadsOfBlock;
  const int64_t block = static_cast<int64_t>(blockIdx.x) * kGroups + threadIdx.x / kThreadsOfBlock;
  const int quarter = static_cast<int>(threadIdx.x) % kThreadsOfBlock;
  double sums[kValues] = {};
  if (block < args.blocks) {  // all threads take part in the shuffles below
    const int64_t array = last_at_most(args.first_blocks, args.arrays, block);
    const int64_t first = (block - args.first_blocks[array]) * kNormBlock;
    const int64_t all = args.counts[array] - first, count = all < kNormBlock ? all : kNormBlock;
    const float* const values = args.values[array] + first;
    const bool aligned = reinterpret_cast<uintptr_t>(values) % 16 == 0;
    for (int64_t i = quarter * kValues; i < count; i += 16 * kAtOnce) {
      float x[kAtOnce][kValues];
#pragma unroll
      for (int r = 0; r < kAtOnce; ++r) {
        const int64_t at = i + 16 * r;
        if (aligned)
          load_lanes<true>(values + at, count - at, x[r]);
        else
          load_lanes<false>(values + at, count - at, x[r]);
      }
#pragma unroll
      for (int r = 0; r < kAtOnce; ++r)
#pragma unroll
        for (int j = 0; j < kValues; ++j) {
          const double value = static_cast<double>(x[r][j]);
          sums[j] += value * value;
        }
    }
  }
  // Chain c = 4 quarter + j gets chain c + 8's sum, then c + 4's, c + 2's, c + 1's.
#pragma unroll
  for (int j = 0; j < kValues; ++j) sums[j] += __shfl_xor_sync(kAllLanes, sums[j], 2);
#pragma unroll
  for (int j = 0; j < kValues; ++j) sums[j] += __shfl_xor_sync(kAllLanes, sums[j], 1);
  sums[0] += sums[2];
  sums[1] += sums[3];
  if (quarter == 0 && block < args.blocks) args.sums[block] = sums[0] + sums[1];
}

template <bool kAligned>
int32_t update(const AdamWArgs& args, RubricateStream* stream) {
  const unsigned blocks = blocks_for(args.count, kThreads * kValues);
  if (args.decay_targets != nullptr)
    return RUBRICATE_LAUNCH((adamw<kAligned, true>), blocks, kThreads, 0, stream, args);
  return RUBRICATE_LAUNCH((adamw<kAligned, false>), blocks, kThreads, 0, stream, args);
}

int32_t adamw_cuda(const AdamWArgs& args, RubricateStream* stream) {
  if (args.count == 0) return RUBRICATE_OK;
  const bool aligned = aligned_16(args.parameters) && aligned_16(args.grad) && aligned_16(args.m) &&
                       aligned_16(args.v) && aligned_16(args.decay_targets);
  return aligned ? update<true>(args, stream) : update<false>(args, stream);
}

int32_t square_sums_cuda(const SquareSumsArgs& args, RubricateStream* stream) {
  if (args.blocks == 0) return RUBRICATE_OK;
  return RUBRICATE_LAUNCH(square_sums, blocks_for(args.blocks, kSumThreads / kThreadsOfBlock), kSumThreads, 0, stream,
                          args);
}

RUBRICATE_KERNEL("adamw/2", adamw_cuda);
RUBRICATE_KERNEL("square_sums/1", square_sums_cuda);

}  // namespace
}  // namespace rubricate::cuda
