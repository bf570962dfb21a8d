// The elementwise ops, conversions between dtypes, and sums to a scalar (elementwise.h): one thread per 16 bytes.
//
// Memory-bound: per element an op moves 2 elements of memory, or 3 with two inputs (6 bytes in bf16), for 1 to 12
// operations; a conversion moves 6 bytes; a sum reads each element once.
#include "ops/elementwise/elementwise_kernels.h"
#include "ops/shared/rows.cuh"
#include "ops/shared/sigmoid.cuh"

namespace rubricate::cuda {
namespace {

constexpr int kThreads = 256;

template <Elementwise kOp>
__device__ __forceinline__ float value_of(float a, float b, float factor) {
  if constexpr (kOp == Elementwise::add) return a + b;
  if constexpr (kOp == Elementwise::multiply) return a * b;
  if constexpr (kOp == Elementwise::scale) return a * factor;
  if constexpr (kOp == Elementwise::fill) return factor;
  if constexpr (kOp == Elementwise::silu) return a * sigmoid(a);
  if constexpr (kOp == Elementwise::silu_backward) {
    const float s = sigmoid(a);
    return b * s * fmaf(a, 1.0f - s, 1.0f);
  }
  if constexpr (kOp == Elementwise::relu) return a < 0.0f ? 0.0f : a;  // NaN stays NaN
  if constexpr (kOp == Elementwise::relu_backward) return a <= 0.0f ? 0.0f : b;
  if constexpr (kOp == Elementwise::tanh) return tanhf(a);
  if constexpr (kOp == Elementwise::tanh_backward) {
    const float e = expf(-2.0f * fabsf(a));
    return b * (4.0f * e / ((1.0f + e) * (1.0f + e)));  // 1 - tanh(a)^2, without cancellation
  }
  return factor * (a - b);
}

template <Elementwise kOp>
inline constexpr bool kReadsB =
    kOp == Elementwise::add || kOp == Elementwise::multiply || kOp == Elementwise::silu_backward ||
    kOp == Elementwise::difference || kOp == Elementwise::relu_backward || kOp == Elementwise::tanh_backward;

template <typename T, Elementwise kOp, bool kAligned>
__global__ void __launch_bounds__(kThreads) elementwise(ElementwiseArgs args) {
  const int64_t at = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kLanes<T>, left = args.end - at;
  if (left <= 0) return;
  float factor = args.factor;
  if (args.multiplicand != nullptr)
    factor = static_cast<float>(static_cast<double>(*args.multiplicand) * args.multiplier);
  float a[kLanes<T>] = {}, b[kLanes<T>] = {};
  if constexpr (kOp != Elementwise::fill) load_lanes<kAligned>(static_cast<const T*>(args.a) + at, left, a);
  if constexpr (kReadsB<kOp>) load_lanes<kAligned>(static_cast<const T*>(args.b) + at, left, b);
#pragma unroll
  for (int i = 0; i < kLanes<T>; ++i) a[i] = value_of<kOp>(a[i], b[i], factor);
  store_lanes<kAligned>(static_cast<T*>(args.out) + at, left, a);
}

template <typename From, typename To, bool kAligned>
__global__ void __launch_bounds__(kThreads) cast(CastArgs args) {
  const int64_t at = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kRowChunk, left = args.end - at;
  if (left <= 0) return;
  const From* const from = static_cast<const From*>(args.a) + at;
  To* const to = static_cast<To*>(args.out) + at;
  float values[kRowChunk];
  if (kAligned && left >= kRowChunk) {
    load_chunk<kAligned>(from, left, values);
    store_chunk<kAligned>(to, left, values);
  } else {
    load_some(from, left, values);
    store_some(to, left, values);
  }
}

template <typename T>
__global__ void __launch_bounds__(kMostRowThreads) row_sums(RowSumArgs args) {
  RUBRICATE_SHARED(float[kRowPartials], partial);
  const T* const a = at<T>(args.a, blockIdx.x * args.cols);
  const T* const b = at<T>(args.b, blockIdx.x * args.cols);
  float sum = 0.0f;
  for_chunks<0>(args.cols, [&](int, int64_t column, int64_t left) {
    float x[kRowChunk], y[kRowChunk];
    load_some(a + column, left, x);
    if (b != nullptr) load_some(b + column, left, y);
#pragma unroll
    for (int i = 0; i < kRowChunk; ++i) {
      const float difference = b != nullptr ? x[i] - y[i] : 0.0f;
      sum += b != nullptr ? difference * difference : x[i];
    }
  });
  sum = row_sum(sum, partial);
  if (threadIdx.x == 0) args.out[blockIdx.x] = sum;
}

// One block: all threads load, one of them adds.
__global__ void __launch_bounds__(kThreads) fold(FoldArgs args) {
  RUBRICATE_SHARED(float[kThreads], values);
  double total = 0.0;
  for (int64_t first = 0; first < args.count; first += kThreads) {
    const int64_t i = first + threadIdx.x;
    if (i < args.count) values[threadIdx.x] = args.values[i];
    __syncthreads();
    if (threadIdx.x == 0)
      for (int j = 0; j < kThreads && first + j < args.count; ++j) total += static_cast<double>(values[j]);
    __syncthreads();
  }
  if (threadIdx.x == 0) *args.out = static_cast<float>(total / args.divisor);
}

template <typename T, Elementwise kOp>
int32_t run_op(const ElementwiseArgs& args, RubricateStream* stream) {
  const unsigned blocks = blocks_for(args.end, kThreads * kLanes<T>);
  if (aligned_16(args.a) && aligned_16(args.b) && aligned_16(args.out))
    return RUBRICATE_LAUNCH((elementwise<T, kOp, true>), blocks, kThreads, 0, stream, args);
  return RUBRICATE_LAUNCH((elementwise<T, kOp, false>), blocks, kThreads, 0, stream, args);
}
template <typename T>
int32_t run(const ElementwiseArgs& args, RubricateStream* stream) {
  switch (args.op) {
    case Elementwise::add:
      return run_op<T, Elementwise::add>(args, stream);
    case Elementwise::multiply:
      return run_op<T, Elementwise::multiply>(args, stream);
    case Elementwise::scale:
      return run_op<T, Elementwise::scale>(args, stream);
    case Elementwise::fill:
      return run_op<T, Elementwise::fill>(args, stream);
    case Elementwise::silu:
      return run_op<T, Elementwise::silu>(args, stream);
    case Elementwise::silu_backward:
      return run_op<T, Elementwise::silu_backward>(args, stream);
    case Elementwise::difference:
      return run_op<T, Elementwise::difference>(args, stream);
    case Elementwise::relu:
      return run_op<T, Elementwise::relu>(args, stream);
    case Elementwise::relu_backward:
      return run_op<T, Elementwise::relu_backward>(args, stream);
    case Elementwise::tanh:
      return run_op<T, Elementwise::tanh>(args, stream);
    case Elementwise::tanh_backward:
      return run_op<T, Elementwise::tanh_backward>(args, stream);
  }
  return failed(RUBRICATE_INVALID, "no such elementwise op");
}
int32_t elementwise_cuda(const ElementwiseArgs& args, RubricateStream* stream) {
  if (args.end == 0) return RUBRICATE_OK;
  return args.dtype == DType::bf16 ? run<bf16>(args, stream) : run<float>(args, stream);
}

template <typename From, typename To>
int32_t convert(const CastArgs& args, RubricateStream* stream) {
  const unsigned blocks = blocks_for(args.end, kThreads * kRowChunk);
  if (aligned_16(args.a) && aligned_16(args.out))
    return RUBRICATE_LAUNCH((cast<From, To, true>), blocks, kThreads, 0, stream, args);
  return RUBRICATE_LAUNCH((cast<From, To, false>), blocks, kThreads, 0, stream, args);
}
int32_t cast_cuda(const CastArgs& args, RubricateStream* stream) {
  if (args.end == 0) return RUBRICATE_OK;
  if (args.from == DType::bf16) return convert<bf16, float>(args, stream);
  if (args.from == DType::f16) return convert<f16, float>(args, stream);
  if (args.to == DType::bf16) return convert<float, bf16>(args, stream);
  if (args.to == DType::f16) return convert<float, f16>(args, stream);
  return convert<float, float>(args, stream);
}

int32_t row_sum_cuda(const RowSumArgs& args, RubricateStream* stream) {
  if (args.end == 0) return RUBRICATE_OK;
  const int threads = row_shape(args.cols).threads;
  if (args.dtype == DType::bf16)
    return RUBRICATE_LAUNCH(row_sums<bf16>, blocks_for(args.end, 1), threads, 0, stream, args);
  return RUBRICATE_LAUNCH(row_sums<float>, blocks_for(args.end, 1), threads, 0, stream, args);
}

int32_t fold_cuda(const FoldArgs& args, RubricateStream* stream) {
  return RUBRICATE_LAUNCH(fold, 1, kThreads, 0, stream, args);
}

RUBRICATE_KERNEL("elementwise/1", elementwise_cuda);
RUBRICATE_KERNEL("cast/1", cast_cuda);
RUBRICATE_KERNEL("row_sum/1", row_sum_cuda);
RUBRICATE_KERNEL("fold/1", fold_cuda);

}  // namespace
}  // namespace rubricate::cuda
