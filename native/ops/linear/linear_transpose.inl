// Lanes: the number of fp32 words that a square transpose takes at a time; a word may hold a pair of bf16 values.
#if defined(RUBRICATE_TARGET_AVX512)
constexpr int64_t kLanes = 16;
using Lanes = __m512;
inline Lanes zero_lanes() { return _mm512_setzero_ps(); }
template <typename T>
inline Lanes load_lanes(const T* p) {
  return load(p).v;
}
inline Lanes load_bits(const bf16* p) { return _mm512_castsi512_ps(_mm512_loadu_si512(p)); }
inline Lanes low_bf16(Lanes pairs) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(pairs), 16)); }
inline Lanes high_bf16(Lanes pairs) {
  return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(pairs), _mm512_set1_epi32(-0x10000)));
}
inline void store_lanes(float* p, Lanes a) { _mm512_storeu_ps(p, a); }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 gives it for the undefined vectors of its own header
inline void transpose(Lanes (&r)[16]) {
  Lanes t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const __m512d a = _mm512_castps_pd(t[i + h]), b = _mm512_castps_pd(t[i + 2 + h]);
      r[i + 2 * h] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
      r[i + 2 * h + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const Lanes a = _mm512_shuffle_f32x4(r[j], r[4 + j], 0x88), b = _mm512_shuffle_f32x4(r[j], r[4 + j], 0xdd);
    const Lanes c = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0x88),
                d = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0xdd);
    t[j] = _mm512_shuffle_f32x4(a, c, 0x88);
    t[8 + j] = _mm512_shuffle_f32x4(a, c, 0xdd);
    t[4 + j] = _mm512_shuffle_f32x4(b, d, 0x88);
    t[12 + j] = _mm512_shuffle_f32x4(b, d, 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}
#pragma GCC diagnostic pop
#elif defined(RUBRICATE_TARGET_AVX2)
constexpr int64_t kLanes = 8;
using Lanes = __m256;
inline Lanes zero_lanes() { return _mm256_setzero_ps(); }
inline Lanes load_lanes(const float* p) { return _mm256_loadu_ps(p); }
inline Lanes load_lanes(const bf16* p) { return widen_bf16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline Lanes load_lanes(const f16* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline Lanes load_bits(const bf16* p) {
  return _mm256_castsi256_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Lanes low_bf16(Lanes pairs) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(pairs), 16)); }
inline Lanes high_bf16(Lanes pairs) { return _mm256_and_ps(pairs, _mm256_castsi256_ps(_mm256_set1_epi32(-0x10000))); }
inline void store_lanes(float* p, Lanes a) { _mm256_storeu_ps(p, a); }
inline void transpose(Lanes (&r)[8]) {
  Lanes t[8], u[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      u[i + 2 * h] = _mm256_shuffle_ps(t[i + h], t[i + 2 + h], 0x44);
      u[i + 2 * h + 1] = _mm256_shuffle_ps(t[i + h], t[i + 2 + h], 0xee);
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    r[j] = _mm256_permute2f128_ps(u[j], u[4 + j], 0x20);
    r[4 + j] = _mm256_permute2f128_ps(u[j], u[4 + j], 0x31);
  }
}
#elif defined(RUBRICATE_TARGET_NEON)
constexpr int64_t kLanes = 4;
using Lanes = float32x4_t;
inline Lanes zero_lanes() { return vdupq_n_f32(0.0f); }
inline Lanes load_lanes(const float* p) { return vld1q_f32(p); }
template <typename T>
inline Lanes load_lanes(const T* p) {
  return widen(vld1_u16(reinterpret_cast<const uint16_t*>(p)), p);
}
inline Lanes load_bits(const bf16* p) { return vreinterpretq_f32_u16(vld1q_u16(reinterpret_cast<const uint16_t*>(p))); }
inline Lanes low_bf16(Lanes pairs) { return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(pairs), 16)); }
inline Lanes high_bf16(Lanes pairs) {
  return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(pairs), vdupq_n_u32(0xffff0000)));
}
inline void store_lanes(float* p, Lanes a) { vst1q_f32(p, a); }
inline void transpose(Lanes (&r)[4]) { transpose_4x4(r); }
#else
constexpr int64_t kLanes = 2;
struct Lanes {
  float v[2];
};
inline Lanes zero_lanes() { return {{0.0f, 0.0f}}; }
template <typename T>
inline Lanes load_lanes(const T* p) {
  T x[2];
  std::memcpy(x, p, sizeof(x));
  return {{to_float(x[0]), to_float(x[1])}};
}
inline void store_lanes(float* p, Lanes a) { std::memcpy(p, a.v, sizeof(a.v)); }
inline void transpose(Lanes (&r)[2]) { std::swap(r[0].v[1], r[1].v[0]); }
#endif
