// Tensor cores: mma.sync with fp32 accumulation, and ldmatrix. All 32 lanes of a warp call these together.
//
// Fragments as the PTX manual lays them out ("Matrix Fragments for mma.m16n8k16"), with
// group = lane / 4 and quad = lane % 4:
//
//   D, C [16, 8] fp32     d[i]: row group + 8 (i / 2), column 2 quad + i % 2
//   bf16, A [16, 16]      a[i], a pair: row group + 8 (i % 2), columns 2 quad + 8 (i / 2) and the next
//         B [16, 8]       b[i], a pair: rows 2 quad + 8 i and the next, column group
//
// bf16 mma needs sm_80. On sm_75 shuffles and fp32 multiply-adds compute the same product.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "device/cuda/vectors.h"

// 0 selects the shuffles; a build of the emulation may set it, to test this path too.
#if !defined(RUBRICATE_TENSOR_CORES)
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define RUBRICATE_TENSOR_CORES 0
#else
#define RUBRICATE_TENSOR_CORES 1
#endif
#endif

namespace rubricate::cuda {

__device__ __forceinline__ float low_bf16(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high_bf16(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }

// d += A B through shuffles: for each pair of k the two rows of A and the two columns of B that this lane's four
// elements need. k ascends, one chain of fused multiply-adds per element.
__device__ __forceinline__ void mma_bf16_by_shuffles(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  const int lane = static_cast<int>(threadIdx.x) & 31, group = lane >> 2, quad = lane & 3;
#pragma unroll
  for (int pair = 0; pair < 8; ++pair) {
    const int half = pair / 4, owner = pair % 4;
    const uint32_t upper = __shfl_sync(0xffffffffu, a[2 * half], group * 4 + owner);
    const uint32_t lower = __shfl_sync(0xffffffffu, a[2 * half + 1], group * 4 + owner);
    const uint32_t left = __shfl_sync(0xffffffffu, b[half], quad * 8 + owner);
    const uint32_t right = __shfl_sync(0xffffffffu, b[half], quad * 8 + 4 + owner);
    d[0] = fmaf(high_bf16(upper), high_bf16(left), fmaf(low_bf16(upper), low_bf16(left), d[0]));
    d[1] = fmaf(high_bf16(upper), high_bf16(right), fmaf(low_bf16(upper), low_bf16(right), d[1]));
    d[2] = fmaf(high_bf16(lower), high_bf16(left), fmaf(low_bf16(lower), low_bf16(left), d[2]));
    d[3] = fmaf(high_bf16(lower), high_bf16(right), fmaf(low_bf16(lower), low_bf16(right), d[3]));
  }
}

// d[16, 8] += A[16, 16] B[16, 8] in bf16.
__device__ __forceinline__ void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if !RUBRICATE_TENSOR_CORES
  mma_bf16_by_shuffles(d, a, b);
#elif defined(RUBRICATE_EMULATED)
  emulation::mma_bf16(d, a, b);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// ldmatrix .x4: four 8x8 matrices of 2-byte elements from shared memory. Lane l gives the address of row l % 8 of
// matrix l / 8 (16 bytes, aligned to 16); words[i] of lane l becomes row l / 4, elements 2 (l % 4) and the next of
// matrix i. Transposed: column l / 4, rows 2 (l % 4) and the next.
__device__ __forceinline__ void load_matrices(uint32_t (&words)[4], const void* row) {
#if defined(RUBRICATE_EMULATED)
  emulation::load_matrices(words, row, false);
#else
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(address)
               : "memory");
#endif
}
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&words)[4], const void* row) {
#if defined(RUBRICATE_EMULATED)
  emulation::load_matrices(words, row, true);
#else
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(address)
               : "memory");
#endif
}

}  // namespace rubricate::cuda
