// Deliberately wrong kernels, one for each class of error, each also in a correct version. The program runs one,
// `broken_kernels NAME broken|right`, and prints the result. nets_test.cc runs it, built without sanitizers, with
// AddressSanitizer and with ThreadSanitizer, and expects each error to be found in the broken version and none in the
// right one.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "device/cuda/kernel.h"

namespace rubricate::cuda {
namespace {

constexpr int kThreads = 64;

// Reads one element past an array of global memory.
template <bool broken>
__global__ void global_overrun(const float* x, float* y) {
  const int i = static_cast<int>(threadIdx.x);
  y[i] = x[broken ? i + 1 : i];
}

// Writes one element past the dynamic shared memory of the launch.
template <bool broken>
__global__ void dynamic_overrun(const float* x, float* y) {
  RUBRICATE_DYNAMIC_SHARED(float, row);
  const int i = static_cast<int>(threadIdx.x);
  row[broken ? i + 1 : i] = x[i];
  __syncthreads();
  y[i] = row[kThreads - 1 - i];
}

// Reads one element past a static shared array, in a template.
template <bool broken, int size>
__global__ void static_overrun(const float* x, float* y) {
  RUBRICATE_SHARED(float[size], row);
  const int i = static_cast<int>(threadIdx.x);
  row[i] = x[i];
  __syncthreads();
  float* const flat = row;
  y[i] = flat[broken ? size - i : size - 1 - i];
}

// Reverses a row through shared memory; without the barrier a thread may read an element before another thread writes
// it.
template <bool broken>
__global__ void missing_barrier(const float* x, float* y) {
  RUBRICATE_SHARED(float[kThreads], row);
  const int i = static_cast<int>(threadIdx.x);
  row[i] = x[i];
  if (!broken) __syncthreads();
  y[i] = row[kThreads - 1 - i];
}

// Uses the same buffer twice: without a barrier between the read and the next write, a fast thread writes too early.
template <bool broken>
__global__ void missing_second_barrier(const float* x, float* y) {
  RUBRICATE_SHARED(float[kThreads], row);
  const int i = static_cast<int>(threadIdx.x);
  float value = x[i];
  for (int turn = 0; turn < 2; ++turn) {
    row[i] = value;
    __syncthreads();
    value = row[kThreads - 1 - i];
    if (!broken) __syncthreads();
  }
  y[i] = value;
}

// Neighbouring lanes exchange values through shared memory. A shuffle in between synchronizes the lanes but does not
// order memory.
template <bool broken>
__global__ void missing_warp_sync(const float* x, float* y) {
  RUBRICATE_SHARED(float[kThreads], row);
  const int i = static_cast<int>(threadIdx.x);
  row[i] = x[i];
  float value = __shfl_xor_sync(kAllLanes, x[i], 1);
  if (!broken) __syncwarp();
  value += row[i ^ 1];
  y[i] = value;
}

// Every block adds to one sum.
template <bool broken>
__global__ void race_between_blocks(const float* x, float* y) {
  if (threadIdx.x != 0) return;
  if (broken)
    y[0] += x[blockIdx.x];
  else
    atomicAdd(y, x[blockIdx.x]);
}

// Sums of unwritten memory: y itself, shared memory, a local array.
template <bool broken>
__global__ void unwritten_global(const float* x, float* y) {
  y[threadIdx.x] = broken ? y[threadIdx.x] + x[threadIdx.x] : x[threadIdx.x];
}
template <bool broken>
__global__ void unwritten_shared(const float* x, float* y) {
  RUBRICATE_SHARED(float[kThreads], row);
  const int i = static_cast<int>(threadIdx.x);
  if (!broken || i != 5) row[i] = x[i];
  __syncthreads();
  y[i] = row[i];
}
template <bool broken>
__global__ void unwritten_local(const float* x, float* y) {
  float sums[4];
  if (!broken)
    for (float& sum : sums) sum = 0.0f;
  for (int i = 0; i < 4; ++i) sums[(threadIdx.x + i) % 4] += x[i];
  y[threadIdx.x] = sums[0] + sums[1] + sums[2] + sums[3];
}

// Reads the data of an asynchronous copy before waiting for it.
template <bool broken>
__global__ void missing_wait(const float* x, float* y) {
  RUBRICATE_SHARED(float[4 * kThreads], row);
  const int i = static_cast<int>(threadIdx.x);
  copy_async_16(&row[4 * i], x, i != 0);
  copy_async_commit();
  if (!broken) copy_async_wait<0>();
  y[i] = row[4 * i + 1];
}

// Half of the threads never reach the other half's barrier.
template <bool broken>
__global__ void divergent_barrier(const float* x, float* y) {
  if (broken && threadIdx.x < 16)
    __syncthreads();
  else
    __syncthreads();
  y[threadIdx.x] = x[threadIdx.x];
}

// Half of the lanes call a shuffle with the mask of all lanes.
template <bool broken>
__global__ void missing_lanes(const float* x, float* y) {
  float value = x[threadIdx.x];
  if (!broken || threadIdx.x < 16) value += __shfl_xor_sync(kAllLanes, value, 1);
  y[threadIdx.x] = value;
}

// 16 bytes from an address that is a multiple of 4.
template <bool broken>
__global__ void misaligned(const float* x, float* y) {
  float values[4];
  load_vector(x + (broken ? 1 : 4), values);
  y[threadIdx.x] = values[0];
}

// Host code that reads device memory, which only kernels and copies can do.
bool read_by_host(bool broken) {
  void* x = nullptr;
  float value = 1.0f;
  cudaMalloc(&x, sizeof value);
  cudaMemcpyAsync(x, &value, sizeof value, cudaMemcpyHostToDevice, nullptr);
  if (broken) return *static_cast<volatile float*>(x) == 1.0f;
  cudaMemcpyAsync(&value, x, sizeof value, cudaMemcpyDeviceToHost, nullptr);
  return value == 1.0f;
}

using Kernel = void (*)(const float*, float*);
struct Case {
  const char* name;
  Kernel broken, right;
  int blocks = 1;
  int64_t shared_bytes = 0;
};
const Case cases[] = {
    {"global_overrun", global_overrun<true>, global_overrun<false>},
    {"dynamic_overrun", dynamic_overrun<true>, dynamic_overrun<false>, 1, kThreads * sizeof(float)},
    {"static_overrun", static_overrun<true, kThreads>, static_overrun<false, kThreads>},
    {"missing_barrier", missing_barrier<true>, missing_barrier<false>},
    {"missing_second_barrier", missing_second_barrier<true>, missing_second_barrier<false>},
    {"missing_warp_sync", missing_warp_sync<true>, missing_warp_sync<false>},
    {"race_between_blocks", race_between_blocks<true>, race_between_blocks<false>, 8},
    {"unwritten_global", unwritten_global<true>, unwritten_global<false>},
    {"unwritten_shared", unwritten_shared<true>, unwritten_shared<false>},
    {"unwritten_local", unwritten_local<true>, unwritten_local<false>},
    {"missing_wait", missing_wait<true>, missing_wait<false>},
    {"divergent_barrier", divergent_barrier<true>, divergent_barrier<false>},
    {"missing_lanes", missing_lanes<true>, missing_lanes<false>},
    {"misaligned", misaligned<true>, misaligned<false>},
};

int run(const Case& which, bool broken) {
  const int64_t bytes = kThreads * static_cast<int64_t>(sizeof(float));
  float values[kThreads];
  for (int i = 0; i < kThreads; ++i) values[i] = static_cast<float>(i);
  void *x = nullptr, *y = nullptr;
  if (cudaMalloc(&x, bytes) != cudaSuccess || cudaMalloc(&y, bytes) != cudaSuccess) return 1;
  cudaMemcpyAsync(x, values, sizeof values, cudaMemcpyHostToDevice, nullptr);
  if (std::strcmp(which.name, "race_between_blocks") == 0) cudaMemsetAsync(y, 0, sizeof values, nullptr);
  RubricateStream stream{nullptr, 0, 80, 4, 163 << 10, nullptr};
  const int32_t status =
      RUBRICATE_LAUNCH((broken ? which.broken : which.right), static_cast<unsigned>(which.blocks), kThreads,
                       which.shared_bytes, &stream, static_cast<const float*>(x), static_cast<float*>(y));
  if (status != RUBRICATE_OK) return 1;
  cudaMemcpyAsync(values, y, sizeof values, cudaMemcpyDeviceToHost, nullptr);
  for (const float value : values) std::printf("%g ", static_cast<double>(value));
  std::printf("\n");
  cudaFree(x);
  cudaFree(y);
  return 0;
}

}  // namespace
}  // namespace rubricate::cuda

int main(int count, char** arguments) {
  if (count == 3 && std::strcmp(arguments[1], "read_by_host") == 0)
    return rubricate::cuda::read_by_host(std::strcmp(arguments[2], "broken") == 0) ? 0 : 1;
  for (const auto& which : rubricate::cuda::cases)
    if (count == 3 && std::strcmp(which.name, arguments[1]) == 0)
      return rubricate::cuda::run(which, std::strcmp(arguments[2], "broken") == 0);
  std::fprintf(stderr, "Expected the name of a kernel, and broken or right\n");
  return 2;
}
