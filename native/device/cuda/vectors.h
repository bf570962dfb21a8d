// Elements as floats, and 16-byte accesses. Values are rounded to nearest even, as in base/dtype.h.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

#include "base/dtype.h"

namespace rubricate::cuda {

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(bf16 x) { return __uint_as_float(static_cast<uint32_t>(x.bits) << 16); }
__device__ __forceinline__ float widen(f16 x) {
#if defined(RUBRICATE_EMULATED)
  return to_float(x);
#else
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
#endif
}

template <typename T>
__device__ __forceinline__ T narrow(float x);
template <>
__device__ __forceinline__ float narrow<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ bf16 narrow<bf16>(float x) {
#if defined(RUBRICATE_EMULATED)
  return from_float<bf16>(x);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  bf16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
#else
  const uint32_t u = __float_as_uint(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>(u >> 16 | 0x40u)};
  return {static_cast<uint16_t>((u + 0x7fffu + (u >> 16 & 1u)) >> 16)};
#endif
}
template <>
__device__ __forceinline__ f16 narrow<f16>(float x) {
#if defined(RUBRICATE_EMULATED)
  return from_float<f16>(x);
#else
  f16 y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
#endif
}

// Two floats as a pair of T in one word, `low` in the lower half (the order of memory).
template <typename T>
__device__ __forceinline__ uint32_t narrow_pair(float low, float high) {
  return static_cast<uint32_t>(narrow<T>(low).bits) | static_cast<uint32_t>(narrow<T>(high).bits) << 16;
}
#if !defined(RUBRICATE_EMULATED) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
template <>
__device__ __forceinline__ uint32_t narrow_pair<bf16>(float low, float high) {
  uint32_t y;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}
#endif

// Elements in 16 bytes.
template <typename T>
inline constexpr int kLanes = 16 / static_cast<int>(sizeof(T));

// Whether 16-byte accesses at `address` are allowed. A launcher checks every pointer, and cols % kLanes<T>.
inline bool aligned_16(const void* address) { return reinterpret_cast<uintptr_t>(address) % 16 == 0; }

// 16 bytes at once, at an aligned address: load_16 of global or shared memory, store_16 of global memory (as PTX, since
// nvcc sometimes makes four stores of an assignment), store_16_shared of shared memory. load_16_once hints that these
// lines will not be read again soon, to keep them out of the caches.
#if defined(RUBRICATE_EMULATED)
inline uint4 load_16(const void* from) {
  emulation::check_aligned(from, 16);
  uint4 words;
  std::memcpy(&words, from, sizeof words);
  return words;
}
inline void store_16(void* to, const uint4& words) {
  emulation::check_aligned(to, 16);
  std::memcpy(to, &words, sizeof words);
}
inline void store_16_shared(void* to, const uint4& words) { store_16(to, words); }
inline uint4 load_16_once(const void* from) { return load_16(from); }
#else
__device__ __forceinline__ uint4 load_16(const void* from) { return *static_cast<const uint4*>(from); }
__device__ __forceinline__ void store_16(void* to, const uint4& words) { __stwb(static_cast<uint4*>(to), words); }
__device__ __forceinline__ void store_16_shared(void* to, const uint4& words) { *static_cast<uint4*>(to) = words; }
__device__ __forceinline__ uint4 load_16_once(const void* from) { return __ldcs(static_cast<const uint4*>(from)); }
#endif

// 16 bytes of T as floats, and back.
__device__ __forceinline__ void unpack_16(const uint4& words, float (&values)[4]) {
  values[0] = __uint_as_float(words.x);
  values[1] = __uint_as_float(words.y);
  values[2] = __uint_as_float(words.z);
  values[3] = __uint_as_float(words.w);
}
template <typename T>
__device__ __forceinline__ void unpack_16(const uint4& words, float (&values)[8]) {
  const uint32_t pairs[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    values[2 * i] = widen(T{static_cast<uint16_t>(pairs[i] & 0xffffu)});
    values[2 * i + 1] = widen(T{static_cast<uint16_t>(pairs[i] >> 16)});
  }
}
template <typename T>
__device__ __forceinline__ void unpack_16(const uint4& words, float (&values)[4]) {
  static_assert(sizeof(T) == 4);
  unpack_16(words, values);
}
template <typename T>
__device__ __forceinline__ uint4 pack_16(const float (&values)[4]) {
  static_assert(sizeof(T) == 4);
  return make_uint4(__float_as_uint(values[0]), __float_as_uint(values[1]), __float_as_uint(values[2]),
                    __float_as_uint(values[3]));
}
template <typename T>
__device__ __forceinline__ uint4 pack_16(const float (&values)[8]) {
  return make_uint4(narrow_pair<T>(values[0], values[1]), narrow_pair<T>(values[2], values[3]),
                    narrow_pair<T>(values[4], values[5]), narrow_pair<T>(values[6], values[7]));
}

// load_vector(p, x): kLanes<T> elements at an aligned address as floats; store_vector rounds each once.
template <typename T>
__device__ __forceinline__ void load_vector(const T* from, float (&values)[kLanes<T>]) {
  unpack_16<T>(load_16(from), values);
}
template <typename T>
__device__ __forceinline__ void store_vector(T* to, const float (&values)[kLanes<T>]) {
  store_16(to, pack_16<T>(values));
}

// The same at the end of an array, where `left` elements, maybe fewer than kLanes<T>, remain: lanes beyond them are
// read as zeros and not written.
template <typename T>
__device__ __forceinline__ void load_vector_upto(const T* from, int64_t left, float (&values)[kLanes<T>]) {
  if (left >= kLanes<T>) return load_vector(from, values);
#pragma unroll
  for (int i = 0; i < kLanes<T>; ++i) values[i] = i < left ? widen(from[i]) : 0.0f;
}
template <typename T>
__device__ __forceinline__ void store_vector_upto(T* to, int64_t left, const float (&values)[kLanes<T>]) {
  if (left >= kLanes<T>) return store_vector(to, values);
#pragma unroll
  for (int i = 0; i < kLanes<T>; ++i)
    if (i < left) to[i] = narrow<T>(values[i]);
}

}  // namespace rubricate::cuda
