// The built-in CUDA functions that this project's kernels use.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "device/cuda/emulated/execution.h"

inline void __syncthreads(const std::source_location& where = std::source_location::current()) {
  rubricate::emulation::barrier(where);
}
inline int __syncthreads_or(int vote, const std::source_location& where = std::source_location::current()) {
  return rubricate::emulation::barrier_any(vote != 0, where) ? 1 : 0;
}
inline void __syncwarp(uint32_t mask = 0xffffffffu,
                       const std::source_location& where = std::source_location::current()) {
  rubricate::emulation::collective(
      mask, &mask, [](void* const*) {}, where, rubricate::emulation::Ordering::memory);
}

namespace rubricate::emulation {

template <typename T>
struct Shuffle {
  T mine, received;
  int source;
};

// The value of lane `source`; an inactive lane gives no value, so the result is the lane's own value (undefined in
// CUDA).
template <typename T>
T shuffle(uint32_t mask, T value, int source, const Location& where) {
  Shuffle<T> payload{value, value, source};
  collective(
      mask, &payload,
      [](void* const* payloads) {
        for (int i = 0; i < warpSize; ++i) {
          auto* to = static_cast<Shuffle<T>*>(payloads[i]);
          if (to == nullptr) continue;
          const auto* from = static_cast<const Shuffle<T>*>(payloads[to->source]);
          if (from == nullptr) die("a shuffle reads a lane outside of its mask");
          to->received = from->mine;
        }
      },
      where);
  return payload.received;
}

struct Vote {
  bool mine;
  uint32_t all;
};

}  // namespace rubricate::emulation

template <typename T>
T __shfl_sync(uint32_t mask, T value, int source, int width = warpSize,
              const std::source_location& where = std::source_location::current()) {
  const int lane = static_cast<int>(rubricate::emulation::lane());
  return rubricate::emulation::shuffle(mask, value, (lane & ~(width - 1)) | (source & (width - 1)), where);
}
template <typename T>
T __shfl_xor_sync(uint32_t mask, T value, int lanes, int width = warpSize,
                  const std::source_location& where = std::source_location::current()) {
  const int lane = static_cast<int>(rubricate::emulation::lane()), source = lane ^ lanes;
  return rubricate::emulation::shuffle(mask, value, (source & ~(width - 1)) > lane ? lane : source, where);
}
template <typename T>
T __shfl_up_sync(uint32_t mask, T value, unsigned delta, int width = warpSize,
                 const std::source_location& where = std::source_location::current()) {
  const int lane = static_cast<int>(rubricate::emulation::lane()), source = lane - static_cast<int>(delta);
  return rubricate::emulation::shuffle(mask, value, source < (lane & ~(width - 1)) ? lane : source, where);
}
template <typename T>
T __shfl_down_sync(uint32_t mask, T value, unsigned delta, int width = warpSize,
                   const std::source_location& where = std::source_location::current()) {
  const int lane = static_cast<int>(rubricate::emulation::lane()), source = lane + static_cast<int>(delta);
  return rubricate::emulation::shuffle(mask, value, source > (lane | (width - 1)) ? lane : source, where);
}

inline uint32_t __ballot_sync(uint32_t mask, bool vote,
                              const std::source_location& where = std::source_location::current()) {
  rubricate::emulation::Vote payload{vote, 0};
  rubricate::emulation::collective(
      mask, &payload,
      [](void* const* payloads) {
        uint32_t all = 0;
        for (int i = 0; i < warpSize; ++i)
          if (payloads[i] != nullptr && static_cast<rubricate::emulation::Vote*>(payloads[i])->mine) all |= 1u << i;
        for (int i = 0; i < warpSize; ++i)
          if (payloads[i] != nullptr) static_cast<rubricate::emulation::Vote*>(payloads[i])->all = all;
      },
      where);
  return payload.all;
}
inline int __any_sync(uint32_t mask, bool vote, const std::source_location& where = std::source_location::current()) {
  return __ballot_sync(mask, vote, where) != 0;
}
inline int __all_sync(uint32_t mask, bool vote, const std::source_location& where = std::source_location::current()) {
  return __ballot_sync(mask, !vote, where) == 0;
}

// Relaxed, as CUDA's are.
template <typename T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return std::atomic_ref<T>(*address).fetch_add(value, std::memory_order_relaxed);
}
template <typename T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  std::atomic_ref<T> shared(*address);
  T before = shared.load(std::memory_order_relaxed);
  while (before < value && !shared.compare_exchange_weak(before, value, std::memory_order_relaxed)) {
  }
  return before;
}
template <typename T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  std::atomic_ref<T> shared(*address);
  T before = shared.load(std::memory_order_relaxed);
  while (value < before && !shared.compare_exchange_weak(before, value, std::memory_order_relaxed)) {
  }
  return before;
}
template <typename T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  return std::atomic_ref<T>(*address).exchange(value, std::memory_order_relaxed);
}
template <typename T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  std::atomic_ref<T>(*address).compare_exchange_strong(expected, value, std::memory_order_relaxed);
  return expected;
}

template <typename T>
T __ldg(const T* address) {
  return *address;
}
template <typename T>
T __ldcs(const T* address) {
  return *address;
}
template <typename T>
void __stcs(T* address, T value) {
  *address = value;
}

inline float __uint_as_float(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t __float_as_uint(float x) { return std::bit_cast<uint32_t>(x); }
inline float __int_as_float(int32_t bits) { return std::bit_cast<float>(bits); }
inline int32_t __float_as_int(float x) { return std::bit_cast<int32_t>(x); }
inline int __popc(uint32_t x) { return std::popcount(x); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<uint32_t>(x)) + 1; }
inline int __clz(int x) { return std::countl_zero(static_cast<uint32_t>(x)); }

inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fmaf_rn(float x, float y, float z) { return std::fma(x, y, z); }
inline uint32_t __umulhi(uint32_t x, uint32_t y) { return static_cast<uint32_t>(uint64_t{x} * y >> 32); }

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline long long min(long long a, long long b) { return a < b ? a : b; }
inline long long max(long long a, long long b) { return a > b ? a : b; }
inline long min(long a, long b) { return a < b ? a : b; }
inline long max(long a, long b) { return a > b ? a : b; }
