// cp.async: copies from global to shared memory that run beside the arithmetic (sm_80 and later; plain copies before).
// Emulated, a copy happens only when it is waited for, so that a wait too few reads what was never written.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "device/cuda/vectors.h"

namespace rubricate::cuda {

// 16 bytes, both addresses aligned to 16. Where `valid` is false, 16 zero bytes, and `from` is not read.
__device__ __forceinline__ void copy_async_16(void* shared, const void* from, bool valid = true) {
#if defined(RUBRICATE_EMULATED)
  emulation::check_aligned(shared, 16);
  if (valid) emulation::check_aligned(from, 16);
  emulation::copy_async(shared, valid ? from : nullptr, 16);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  const uint32_t to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(__cvta_generic_to_global(from)),
               "r"(bytes)
               : "memory");
#else
  store_16_shared(shared, valid ? load_16(from) : make_uint4(0, 0, 0, 0));
#endif
}

// Ends a group of copies of this thread.
__device__ __forceinline__ void copy_async_commit() {
#if defined(RUBRICATE_EMULATED)
  emulation::copy_async_commit();
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;\n" ::: "memory");
#endif
}

// Waits until at most `pending` of this thread's latest groups are under way. Other threads see the data after a
// barrier.
template <int pending>
__device__ __forceinline__ void copy_async_wait() {
#if defined(RUBRICATE_EMULATED)
  emulation::copy_async_wait(pending);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;\n" ::"n"(pending) : "memory");
#endif
}

}  // namespace rubricate::cuda
