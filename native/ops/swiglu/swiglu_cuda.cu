// SwiGLU (swiglu.h): one thread per 16 bytes.
//
// Memory-bound: forward moves 3 elements of memory for about 12 operations (6 bytes in bf16), backward 5 (10 bytes) for
// about 18.
#include "device/cuda/kernel.h"
#include "ops/shared/sigmoid.cuh"
#include "ops/swiglu/swiglu_kernels.h"

namespace rubricate::cuda {
namespace {

constexpr int kThreads = 256;

template <typename T>
__global__ void __launch_bounds__(kThreads)
    swiglu_forward(const T* __restrict__ gate, const T* __restrict__ up, T* __restrict__ y, int64_t count) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kLanes<T>;
  if (i >= count) return;
  float x[kLanes<T>], u[kLanes<T>];
  load_vector_upto(gate + i, count - i, x);
  load_vector_upto(up + i, count - i, u);
#pragma unroll
  for (int j = 0; j < kLanes<T>; ++j) x[j] = x[j] * sigmoid(x[j]) * u[j];
  store_vector_upto(y + i, count - i, x);
}

// s = sigmoid(gate);  dup = g gate s;  dgate = g up s (1 + gate (1 - s)). At least 4 blocks per multiprocessor: without
// this hint ptxas spills to make room for one more.
template <typename T>
__global__ void __launch_bounds__(kThreads, 4)
    swiglu_backward(const T* __restrict__ gate, const T* __restrict__ up, const T* __restrict__ grad,
                    T* __restrict__ dgate, T* __restrict__ dup, int64_t count) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kLanes<T>;
  if (i >= count) return;
  float x[kLanes<T>], u[kLanes<T>], g[kLanes<T>];
  load_vector_upto(gate + i, count - i, x);
  load_vector_upto(up + i, count - i, u);
  load_vector_upto(grad + i, count - i, g);
#pragma unroll
  for (int j = 0; j < kLanes<T>; ++j) {
    const float s = sigmoid(x[j]), gs = g[j] * s;
    g[j] = gs * x[j];
    u[j] = gs * u[j] * fmaf(x[j], 1.0f - s, 1.0f);
  }
  if (dgate != nullptr) store_vector_upto(dgate + i, count - i, u);
  if (dup != nullptr) store_vector_upto(dup + i, count - i, g);
}

template <typename T>
int32_t forward(const SwigluArgs& args, RubricateStream* stream) {
  return RUBRICATE_LAUNCH(swiglu_forward<T>, blocks_for(args.end, kThreads * kLanes<T>), kThreads, 0, stream,
                          static_cast<const T*>(args.gate), static_cast<const T*>(args.up), static_cast<T*>(args.y),
                          args.end);
}
template <typename T>
int32_t backward(const SwigluArgs& args, RubricateStream* stream) {
  return RUBRICATE_LAUNCH(swiglu_backward<T>, blocks_for(args.end, kThreads * kLanes<T>), kThreads, 0, stream,
                          static_cast<const T*>(args.gate), static_cast<const T*>(args.up),
                          static_cast<const T*>(args.grad), static_cast<T*>(args.dgate), static_cast<T*>(args.dup),
                          args.end);
}

int32_t swiglu_forward_cuda(const SwigluArgs& args, RubricateStream* stream) {
  if (args.end == 0) return RUBRICATE_OK;
  return args.dtype == DType::bf16 ? forward<bf16>(args, stream) : forward<float>(args, stream);
}
int32_t swiglu_backward_cuda(const SwigluArgs& args, RubricateStream* stream) {
  if (args.end == 0) return RUBRICATE_OK;
  return args.dtype == DType::bf16 ? backward<bf16>(args, stream) : backward<float>(args, stream);
}

RUBRICATE_KERNEL("swiglu_forward/1", swiglu_forward_cuda);
RUBRICATE_KERNEL("swiglu_backward/1", swiglu_backward_cuda);

}  // namespace
}  // namespace rubricate::cuda
