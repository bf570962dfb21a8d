// cp.async: asynchronous copies from global to shared memory (sm_80 and later; ordinary copies before). In the
// emulation a copy happens only when it is waited for, so that a missing wait reads unwritten memory.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "device/cuda/vectors.h"

namespace rubricate::cuda {

// 16 bytes, both addresses aligned to 16. If `valid` is false, writes 16 zero bytes and does not read `from`.
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

// Commits this thread's copies since the last commit as a group.
__device__ __forceinline__ void copy_async_commit() {
#if defined(RUBRICATE_EMULATED)
  emulation::copy_async_commit();
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;\n" ::: "memory");
#endif
}

// Waits until at most `pending` of this thread's latest groups are incomplete. Other threads see the data after a
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
