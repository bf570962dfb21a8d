// Only for tests: runs the AVX-512 sources on a processor that has only AVX2 (CMake: -DRUBRICATE_EMULATE_AVX512=ON).
// SIMDe (simde-everywhere/simde, MIT; Debian: libsimde-dev) emulates the instructions; those that release 0.7.4 lacks
// are defined here as in Intel's manual. Slow, and never part of a shipped build.
#pragma once

#include <immintrin.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>

#include <cmath>
#include <cstdint>
#include <cstring>

namespace rubricate::emulated {

template <typename To, typename From>
inline To cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}
struct Floats {
  float v[16];
};
struct Ints {
  int32_t v[16];
};
struct Halves {
  uint16_t v[16];
};

inline __m512 join(__m256 low, __m256 high) {
  struct {
    __m256 low, high;
  } both = {low, high};
  return cast<__m512>(both);
}
inline __m256 half(__m512 a, int which) {
  __m256 part;
  std::memcpy(&part, reinterpret_cast<const char*>(&a) + 32 * which, 32);
  return part;
}

inline __m512 maskz_loadu_ps(uint32_t mask, const void* p) {
  Floats r = {};
  for (int i = 0; i < 16; ++i)
    if (mask >> i & 1u) std::memcpy(&r.v[i], static_cast<const char*>(p) + 4 * i, 4);
  return cast<__m512>(r);
}
inline void mask_storeu_ps(void* p, uint32_t mask, __m512 a) {
  const Floats r = cast<Floats>(a);
  for (int i = 0; i < 16; ++i)
    if (mask >> i & 1u) std::memcpy(static_cast<char*>(p) + 4 * i, &r.v[i], 4);
}
inline __m256i maskz_loadu_epi16(uint32_t mask, const void* p) {
  Halves r = {};
  for (int i = 0; i < 16; ++i)
    if (mask >> i & 1u) std::memcpy(&r.v[i], static_cast<const char*>(p) + 2 * i, 2);
  return cast<__m256i>(r);
}
inline void mask_storeu_epi16(void* p, uint32_t mask, __m256i a) {
  const Halves r = cast<Halves>(a);
  for (int i = 0; i < 16; ++i)
    if (mask >> i & 1u) std::memcpy(static_cast<char*>(p) + 2 * i, &r.v[i], 2);
}
inline __m512i cvtepu16_epi32(__m256i a) {
  const Halves from = cast<Halves>(a);
  Ints r;
  for (int i = 0; i < 16; ++i) r.v[i] = from.v[i];
  return cast<__m512i>(r);
}
inline __m256i cvtepi32_epi16(__m512i a) {
  const Ints from = cast<Ints>(a);
  Halves r;
  for (int i = 0; i < 16; ++i) r.v[i] = static_cast<uint16_t>(from.v[i]);
  return cast<__m256i>(r);
}
inline __m512i cvtps_epi32(__m512 a) {
  struct {
    __m256i low, high;
  } both = {_mm256_cvtps_epi32(half(a, 0)), _mm256_cvtps_epi32(half(a, 1))};
  return cast<__m512i>(both);
}
inline __m512 cvtph_ps(__m256i a) {
  return join(_mm256_cvtph_ps(_mm256_castsi256_si128(a)), _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1)));
}
template <int Rounding>
inline __m256i cvtps_ph(__m512 a) {
  return _mm256_set_m128i(_mm256_cvtps_ph(half(a, 1), Rounding), _mm256_cvtps_ph(half(a, 0), Rounding));
}
template <int Select>
inline __m512 shuffle_f32x4(__m512 a, __m512 b) {
  __m512 r;
  for (int quarter = 0; quarter < 4; ++quarter) {
    const __m512& from = quarter < 2 ? a : b;
    const int which = Select >> 2 * quarter & 3;
    std::memcpy(reinterpret_cast<char*>(&r) + 16 * quarter, reinterpret_cast<const char*>(&from) + 16 * which, 16);
  }
  return r;
}
inline __m512 scalef_ps(__m512 a, __m512 b) {  // for finite b that are small integers
  const Floats from = cast<Floats>(a), by = cast<Floats>(b);
  Floats r;
  for (int i = 0; i < 16; ++i)
    r.v[i] = std::isnan(by.v[i]) ? by.v[i] : std::ldexp(from.v[i], static_cast<int>(by.v[i]));
  return cast<__m512>(r);
}
inline float reduce_max_ps(__m512 a) {
  const Floats from = cast<Floats>(a);
  float r = from.v[0];
  for (const float x : from.v) r = x > r ? x : r;
  return r;
}

}  // namespace rubricate::emulated

#define _mm512_maskz_loadu_ps(mask, p) rubricate::emulated::maskz_loadu_ps(mask, p)
#define _mm512_mask_storeu_ps(p, mask, a) rubricate::emulated::mask_storeu_ps(p, mask, a)
#define _mm256_maskz_loadu_epi16(mask, p) rubricate::emulated::maskz_loadu_epi16(mask, p)
#define _mm256_mask_storeu_epi16(p, mask, a) rubricate::emulated::mask_storeu_epi16(p, mask, a)
#define _mm512_cvtepu16_epi32(a) rubricate::emulated::cvtepu16_epi32(a)
#define _mm512_cvtepi32_epi16(a) rubricate::emulated::cvtepi32_epi16(a)
#define _mm512_cvtps_epi32(a) rubricate::emulated::cvtps_epi32(a)
#define _mm512_cvtph_ps(a) rubricate::emulated::cvtph_ps(a)
#undef _mm512_cvtps_ph
#define _mm512_cvtps_ph(a, rounding) rubricate::emulated::cvtps_ph<rounding>(a)
#undef _mm512_shuffle_f32x4
#define _mm512_shuffle_f32x4(a, b, select) rubricate::emulated::shuffle_f32x4<select>(a, b)
#undef _mm512_extractf32x8_ps
#define _mm512_extractf32x8_ps(a, which) rubricate::emulated::half(a, which)
#undef _mm512_scalef_ps
#define _mm512_scalef_ps(a, b) rubricate::emulated::scalef_ps(a, b)
#define _mm512_reduce_max_ps(a) rubricate::emulated::reduce_max_ps(a)
