// Compiles a file of kernels once per instruction set, in one translation unit and without per-file compiler flags (gyp
// has none). Usage, in NAME_cpu.cc:
//
//   #define RUBRICATE_KERNELS "ops/swiglu/swiglu_kernels.inl"
//   #include "device/cpu/simd/for_each_target.h"
//   void swiglu_forward_cpu(const SwigluArgs& args) { RUBRICATE_DISPATCH(swiglu_forward, args); }
//
// The .inl includes only other files of kernels and opens no namespace; it can use F32x16 (vec_*.inl), tiles.h and what
// NAME_cpu.cc included before.
// Everything in it has internal linkage: otherwise the linker could use one target's out-of-line copy of a function for
// another target.
// To depend on the target, a file tests RUBRICATE_TARGET_AVX512_BF16, RUBRICATE_TARGET_AVX512 (set for both of the
// AVX-512 targets), RUBRICATE_TARGET_AVX2 or RUBRICATE_TARGET_NEON. Define RUBRICATE_KERNELS_USE_BF16 to compile the fourth target; otherwise
// avx512_bf16 uses the avx512 kernels. RUBRICATE_EMULATE_AVX512: a test build that emulates AVX-512 with AVX2.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "base/dtype.h"
#include "device/cpu/cpu_path.h"
#include "device/cpu/simd/tiles.h"

#if defined(RUBRICATE_EMULATE_AVX512)
#include "device/cpu/simd/emulate_avx512.h"
#elif defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#ifndef RUBRICATE_KERNELS
#error "define RUBRICATE_KERNELS before including this file"
#endif

// The order of these includes matters.
// clang-format off
namespace rubricate {
namespace {
namespace portable {
#include "device/cpu/simd/vec_portable.inl"
#include "device/cpu/simd/vec_common.inl"
#include RUBRICATE_KERNELS
}  // namespace portable
}  // namespace
}  // namespace rubricate

#if defined(__x86_64__)
#define RUBRICATE_TARGET_AVX2
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace rubricate {
namespace {
namespace avx2 {
#include "device/cpu/simd/vec_avx2.inl"
#include "device/cpu/simd/vec_common.inl"
#include RUBRICATE_KERNELS
}  // namespace avx2
}  // namespace
}  // namespace rubricate
#pragma GCC pop_options
#undef RUBRICATE_TARGET_AVX2

#define RUBRICATE_TARGET_AVX512
#pragma GCC push_options
#if !defined(RUBRICATE_EMULATE_AVX512)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#endif
namespace rubricate {
namespace {
namespace avx512 {
#include "device/cpu/simd/vec_avx512.inl"
#include "device/cpu/simd/vec_common.inl"
#include RUBRICATE_KERNELS
}  // namespace avx512
}  // namespace
}  // namespace rubricate
#pragma GCC pop_options

#ifdef RUBRICATE_KERNELS_USE_BF16
#define RUBRICATE_TARGET_AVX512_BF16
#pragma GCC push_options
#if !defined(RUBRICATE_EMULATE_AVX512)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")
#endif
namespace rubricate {
namespace {
namespace avx512_bf16 {
#include "device/cpu/simd/vec_avx512.inl"
#include "device/cpu/simd/vec_common.inl"
#include RUBRICATE_KERNELS
}  // namespace avx512_bf16
}  // namespace
}  // namespace rubricate
#pragma GCC pop_options
#undef RUBRICATE_TARGET_AVX512_BF16
#else
namespace rubricate {
namespace {
namespace avx512_bf16 = avx512;
}
}  // namespace rubricate
#endif
#undef RUBRICATE_TARGET_AVX512
#elif defined(__aarch64__)
#define RUBRICATE_TARGET_NEON
namespace rubricate {
namespace {
namespace neon {
#include "device/cpu/simd/vec_neon.inl"
#include "device/cpu/simd/vec_common.inl"
#include RUBRICATE_KERNELS
}  // namespace neon
}  // namespace
}  // namespace rubricate
#undef RUBRICATE_TARGET_NEON
#endif
// clang-format on

#ifndef RUBRICATE_DISPATCH
#if defined(__x86_64__)
#define RUBRICATE_DISPATCH(function, ...)        \
  switch (::rubricate::cpu_path()) {             \
    case ::rubricate::CpuPath::amx_bf16:         \
    case ::rubricate::CpuPath::avx512_bf16:      \
      return avx512_bf16::function(__VA_ARGS__); \
    case ::rubricate::CpuPath::avx512:           \
      return avx512::function(__VA_ARGS__);      \
    case ::rubricate::CpuPath::avx2:             \
      return avx2::function(__VA_ARGS__);        \
    default:                                     \
      return portable::function(__VA_ARGS__);    \
  }
#elif defined(__aarch64__)
#define RUBRICATE_DISPATCH(function, ...)                                                    \
  return ::rubricate::cpu_path() == ::rubricate::CpuPath::neon ? neon::function(__VA_ARGS__) \
                                                               : portable::function(__VA_ARGS__)
#else
#define RUBRICATE_DISPATCH(function, ...) return portable::function(__VA_ARGS__)
#endif
#endif
#undef RUBRICATE_KERNELS
