// Reductions in a fixed order: the same bits for any order of threads.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "device/cuda/launch.h"

namespace rubricate::cuda {

constexpr uint32_t kAllLanes = 0xffffffffu;

// In blocks of one dimension.
__device__ __forceinline__ int lane_index() { return static_cast<int>(threadIdx.x) % kWarpSize; }
__device__ __forceinline__ int warp_index() { return static_cast<int>(threadIdx.x) / kWarpSize; }

// All lanes must call these; every lane gets the result. `width` (a power of two): groups of that many lanes.
template <int width = kWarpSize>
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int offset = width / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(kAllLanes, x, offset);
  return x;
}
template <int width = kWarpSize>
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int offset = width / 2; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, offset));
  return x;
}

// The maximum over a block of `threads` threads, a multiple of 32; every thread gets it. `partial`: shared,
// threads / 32 floats. The first barrier allows the caller to reuse `partial`.
template <int threads>
__device__ __forceinline__ float block_max(float x, float* partial) {
  x = warp_max(x);
  __syncthreads();
  if (lane_index() == 0) partial[warp_index()] = x;
  __syncthreads();
  float most = partial[0];
#pragma unroll
  for (int warp = 1; warp < threads / kWarpSize; ++warp) most = fmaxf(most, partial[warp]);
  return most;
}

}  // namespace rubricate::cuda
