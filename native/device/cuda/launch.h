// Kernel launches, shared memory, and the registration of kernels by name.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/integers.h"
#include "device/cuda/abi.h"
#include "device/cuda/status.h"

// The stream argument of a launcher. The device is current when a launcher runs.
struct RubricateStream {
  cudaStream_t handle;
  int32_t device;
  int32_t capability;  // 75, 80, 90 ...
  int32_t multiprocessors;
  int64_t block_shared_bytes;  // the most dynamic shared memory of a block
  cudaEvent_t done;            // for a wait that sleeps
};

namespace rubricate::cuda {

constexpr int kWarpSize = 32;
constexpr int64_t kPlainSharedBytes = 48 << 10;  // more than this has to be requested

// Blocks for `count` items, `per_block` each; at most `most` (for grid-stride loops).
inline unsigned blocks_for(int64_t count, int64_t per_block, int64_t most = 0x7fffffff) {
  return static_cast<unsigned>(std::min(most, ceil_div(count, per_block)));
}

// The same for about one wave: at most `per_processor` blocks per multiprocessor.
inline unsigned blocks_for(const RubricateStream* stream, int64_t count, int64_t per_block, int64_t per_processor) {
  return blocks_for(count, per_block, stream->multiprocessors * per_processor);
}

#if !defined(RUBRICATE_EMULATED)
template <typename... Parameters, typename... Arguments>
int32_t launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, int64_t shared_bytes,
               RubricateStream* stream, Arguments&&... arguments) {
  if (shared_bytes > kPlainSharedBytes) {
    const cudaError_t asked =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
    if (asked != cudaSuccess) return failed(asked, name);
  }
  kernel<<<grid, block, static_cast<size_t>(shared_bytes), stream->handle>>>(
      static_cast<Parameters>(std::forward<Arguments>(arguments))...);
  const cudaError_t launched = cudaGetLastError();
  return launched == cudaSuccess ? RUBRICATE_OK : failed(launched, name);
}
#else
template <typename... Parameters, typename... Arguments>
int32_t launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, int64_t shared_bytes,
               RubricateStream* stream, Arguments&&... arguments) {
  const cudaError_t launched = emulation::launch(
      name, grid, block, shared_bytes, stream->handle,
      [kernel, ... values = static_cast<Parameters>(std::forward<Arguments>(arguments))] { kernel(values...); });
  return launched == cudaSuccess ? RUBRICATE_OK : failed(launched, name);
}
#endif

// Kernels of the plug-in, linked from constructors of static objects: `RUBRICATE_KERNEL` makes them.
struct Registration {
  Registration(const char* kernel_name, RubricateKernel kernel_run);
  const char* name;
  RubricateKernel run;
  const Registration* next;
};

template <typename Function>
struct LauncherArguments;
template <typename Args>
struct LauncherArguments<int32_t (*)(const Args&, RubricateStream*)> {
  using type = Args;
};

// Makes the stream's device current, then calls the launcher.
template <auto Launcher>
int32_t run_launcher(const void* args, RubricateStream* stream) {
  const cudaError_t current = cudaSetDevice(stream->device);
  if (current != cudaSuccess) return failed(current, "cudaSetDevice");
  return Launcher(*static_cast<const typename LauncherArguments<decltype(Launcher)>::type*>(args), stream);
}

}  // namespace rubricate::cuda

// Launches a kernel on the stream; evaluates to RUBRICATE_OK, or to the launch's error with its sentence set:
//   return RUBRICATE_LAUNCH((swiglu_forward<T>), blocks, 256, 0, stream, gate, up, y, count);
// Arguments are converted to the kernel's parameter types. An empty grid is an error: return before it.
#define RUBRICATE_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  ::rubricate::cuda::launch(#kernel, (kernel), (grid), (block), (shared_bytes), (stream), __VA_ARGS__)

// Static shared memory, aligned to 16 bytes, of a size known at compile time. The type may not contain a comma; define
// an alias for such a type:
//   RUBRICATE_SHARED(float[32], partial);
//   RUBRICATE_SHARED(bf16[64][72], tile);
// Dynamic shared memory, aligned to 16 bytes, of the launch's shared_bytes; `rows` is a float*:
//   RUBRICATE_DYNAMIC_SHARED(float, rows);
#if !defined(RUBRICATE_EMULATED)
namespace rubricate::cuda {
template <typename T>
struct SharedType {
  using type = T;
};
}  // namespace rubricate::cuda
#define RUBRICATE_SHARED(type_, name) __shared__ __align__(16) typename ::rubricate::cuda::SharedType<type_>::type name
#define RUBRICATE_DYNAMIC_SHARED(type_, name)                         \
  extern __shared__ __align__(16) unsigned char rubricate_dynamic_[]; \
  type_* const name = reinterpret_cast<type_*>(rubricate_dynamic_)
#else
#define RUBRICATE_SHARED(type_, name)                                  \
  static const char rubricate_key_##name = 0;                          \
  auto& name = *static_cast<typename ::std::add_pointer<type_>::type>( \
      ::rubricate::emulation::static_shared(&rubricate_key_##name, sizeof(type_), #name))
#define RUBRICATE_DYNAMIC_SHARED(type_, name) \
  type_* const name = static_cast<type_*>(::rubricate::emulation::dynamic_shared())
#endif

// Registers a launcher `int32_t launcher(const Args& args, RubricateStream* stream)` under "name/version".
#define RUBRICATE_KERNEL(name, launcher) \
  static const ::rubricate::cuda::Registration launcher##_registration(name, ::rubricate::cuda::run_launcher<&launcher>)
