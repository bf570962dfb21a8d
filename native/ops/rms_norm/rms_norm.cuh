// One row of RMSNorm, for all kernels that contain it. The order of sums is that of rows.cuh.
#pragma once

#include "ops/shared/rows.cuh"

namespace rubricate::cuda {

__device__ __forceinline__ void add_squares(const float (&x)[kRowChunk], float& squares) {
#pragma unroll
  for (int i = 0; i < kRowChunk; ++i) squares = fmaf(x[i], x[i], squares);
}

__device__ __forceinline__ float inverse_rms(float squares, int64_t cols, float eps) {
  return 1.0f / sqrtf(squares / static_cast<float>(cols) + eps);
}

// x becomes x r w.
template <bool kWhole>
__device__ __forceinline__ void norm_chunk(float (&x)[kRowChunk], const float* weight, float inv, int64_t column,
                                           int64_t left) {
  float w[kRowChunk];
  load_chunk<kWhole>(weight + column, left, w);
#pragma unroll
  for (int i = 0; i < kRowChunk; ++i) x[i] = x[i] * inv * w[i];
}

// dot += sum_i x_i w_i g_i
template <bool kWhole>
__device__ __forceinline__ void add_dot(const float (&x)[kRowChunk], const float (&grad)[kRowChunk],
                                        const float* weight, int64_t column, int64_t left, float& dot) {
  float w[kRowChunk];
  load_chunk<kWhole>(weight + column, left, w);
#pragma unroll
  for (int i = 0; i < kRowChunk; ++i) dot = fmaf(x[i], w[i] * grad[i], dot);
}

// The factor k of dx_j = r (w_j g_j - k x_j).
__device__ __forceinline__ float norm_factor(float dot, float inv, int64_t cols) {
  return inv * inv / static_cast<float>(cols) * dot;
}

// grad becomes dx.
template <bool kWhole>
__device__ __forceinline__ void norm_backward_chunk(const float (&x)[kRowChunk], float (&grad)[kRowChunk],
                                                    const float* weight, float inv, float factor, int64_t column,
                                                    int64_t left) {
  float w[kRowChunk];
  load_chunk<kWhole>(weight + column, left, w);
#pragma unroll
  for (int i = 0; i < kRowChunk; ++i) grad[i] = inv * fmaf(x[i], -factor, w[i] * grad[i]);
}

}  // namespace rubricate::cuda
