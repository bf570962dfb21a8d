// GELU (gelu.h): one thread per 16 bytes.
//
// Memory-bound: forward moves 2 elements of memory for about 20 operations (4 bytes in bf16), backward 3 (6 bytes) for
// about 25.
#include "device/cuda/kernel.h"
#include "ops/gelu/gelu_kernels.h"

namespace rubricate::cuda {
namespace {

constexpr int kThreads = 256;

// x kept where the result has long reached its asymptote, so that nothing overflows; NaN stays NaN.
__device__ __forceinline__ float limited(float x, float most) { return x > most ? most : x < -most ? -most : x; }

// Phi(-a) for a >= 0
__device__ __forceinline__ float tail(float a) { return 0.5f * erfcf(a * 0.70710678118f); }

constexpr float kTwice = 1.5957691216f;     // 2 sqrt(2 / pi)
constexpr float kCubic = 0.0713548162726f;  // that times 0.044715

// e^-2u, 2 u = x (b + c x^2)
__device__ __forceinline__ float exp_minus_twice_u(float x) { return expf(-x * fmaf(x * x, kCubic, kTwice)); }

template <GeluKind kKind>
__device__ __forceinline__ float value(float x) {
  if constexpr (kKind == GeluKind::tanh) return x / (1.0f + exp_minus_twice_u(limited(x, 15.0f)));
  const float a = fabsf(limited(x, 15.0f));
  return (x < 0.0f ? 0.0f : x) - a * tail(a);
}

template <GeluKind kKind>
__device__ __forceinline__ float slope(float given) {
  if constexpr (kKind == GeluKind::tanh) {
    const float x = limited(given, 9.0f), e = exp_minus_twice_u(x), s = 1.0f / (1.0f + e);
    return fmaf(x * fmaf(x * x, 3.0f * kCubic, kTwice), s * (e * s), s);
  }
  const float x = limited(given, 15.0f), q = tail(fabsf(x));
  return fmaf(x * 0.3989422804f, expf(-0.5f * (x * x)), x < 0.0f ? q : 1.0f - q);
}

template <typename T, GeluKind kKind>
__global__ void __launch_bounds__(kThreads) gelu_forward(const T* __restrict__ x, T* __restrict__ y, int64_t count) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kLanes<T>;
  if (i >= count) return;
  float v[kLanes<T>];
  load_vector_upto(x + i, count - i, v);
#pragma unroll
  for (int j = 0; j < kLanes<T>; ++j) v[j] = value<kKind>(v[j]);
  store_vector_upto(y + i, count - i, v);
}

// Blocks of the backward that fit on a multiprocessor: without this hint ptxas spills on sm_75 to make room for a fourth.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr int kBackwardBlocks = 3;
#else
constexpr int kBackwardBlocks = 0;
#endif

template <typename T, GeluKind kKind>
__global__ void __launch_bounds__(kThreads, kBackwardBlocks)
    gelu_backward(const T* __restrict__ x, const T* __restrict__ grad, T* __restrict__ dx, int64_t count) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kLanes<T>;
  if (i >= count) return;
  float v[kLanes<T>], g[kLanes<T>];
  load_vector_upto(x + i, count - i, v);
  load_vector_upto(grad + i, count - i, g);
#pragma unroll
  for (int j = 0; j < kLanes<T>; ++j) g[j] *= slope<kKind>(v[j]);
  store_vector_upto(dx + i, count - i, g);
}

template <typename T, GeluKind kKind>
int32_t forward(const GeluArgs& args, RubricateStream* stream) {
  return RUBRICATE_LAUNCH((gelu_forward<T, kKind>), blocks_for(args.end, kThreads * kLanes<T>), kThreads, 0, stream,
                          static_cast<const T*>(args.x), static_cast<T*>(args.y), args.end);
}
template <typename T, GeluKind kKind>
int32_t backward(const GeluArgs& args, RubricateStream* stream) {
  return RUBRICATE_LAUNCH((gelu_backward<T, kKind>), blocks_for(args.end, kThreads * kLanes<T>), kThreads, 0, stream,
                          static_cast<const T*>(args.x), static_cast<const T*>(args.grad), static_cast<T*>(args.dx),
                          args.end);
}

template <typename T>
int32_t forward_of(const GeluArgs& args, RubricateStream* stream) {
  return args.kind == GeluKind::exact ? forward<T, GeluKind::exact>(args, stream)
                                      : forward<T, GeluKind::tanh>(args, stream);
}
template <typename T>
int32_t backward_of(const GeluArgs& args, RubricateStream* stream) {
  return args.kind == GeluKind::exact ? backward<T, GeluKind::exact>(args, stream)
                                      : backward<T, GeluKind::tanh>(args, stream);
}

int32_t gelu_forward_cuda(const GeluArgs& args, RubricateStream* stream) {
  if (args.end == 0) return RUBRICATE_OK;
  return args.dtype == DType::bf16 ? forward_of<bf16>(args, stream) : forward_of<float>(args, stream);
}
int32_t gelu_backward_cuda(const GeluArgs& args, RubricateStream* stream) {
  if (args.end == 0) return RUBRICATE_OK;
  return args.dtype == DType::bf16 ? backward_of<bf16>(args, stream) : backward_of<float>(args, stream);
}

RUBRICATE_KERNEL("gelu_forward/1", gelu_forward_cuda);
RUBRICATE_KERNEL("gelu_backward/1", gelu_backward_cuda);

}  // namespace
}  // namespace rubricate::cuda
