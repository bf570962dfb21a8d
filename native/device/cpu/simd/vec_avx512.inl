// F32x16 on AVX-512.
struct F32x16 {
  __m512 v;
};
struct Mask16 {
  __mmask16 bits;
};

inline F32x16 set1(float x) { return {_mm512_set1_ps(x)}; }
inline F32x16 zero() { return {_mm512_setzero_ps()}; }
inline Mask16 first_lanes(int64_t n) { return {static_cast<__mmask16>(n >= 16 ? 0xffffu : (1u << n) - 1u)}; }

inline __m512 widen_bf16(__m256i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }
// GCC 12 warns about undefined operands in its own unmasked forms of these two (PR 105593); masked with all lanes, the
// instructions are the same. SIMDe lacks the masked forms.
#if defined(RUBRICATE_EMULATE_AVX512)
inline __m512i upper_halves(__m512i x) { return _mm512_srli_epi32(x, 16); }
inline __m256i lower_halves(__m512i x) { return _mm512_cvtepi32_epi16(x); }
#else
inline __m512i upper_halves(__m512i x) { return _mm512_maskz_srli_epi32(0xffff, x, 16); }
inline __m256i lower_halves(__m512i x) { return _mm512_maskz_cvtepi32_epi16(0xffff, x); }
#endif
// Rounds to nearest even; NaNs become quiet, subnormals are kept (vcvtneps2bf16 flushes them).
inline __m256i narrow_bf16(__m512 a) {
  const __m512i u = _mm512_castps_si512(a);
  const __m512i odd = _mm512_and_si512(upper_halves(u), _mm512_set1_epi32(1));
  __m512i r = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
  const __mmask16 nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
  r = _mm512_mask_or_epi32(r, nan, u, _mm512_set1_epi32(0x400000));
  return lower_halves(upper_halves(r));
}

inline F32x16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline F32x16 load(const bf16* p) { return {widen_bf16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))}; }
inline F32x16 load(const f16* p) { return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))}; }
inline F32x16 load_masked(const float* p, Mask16 m) { return {_mm512_maskz_loadu_ps(m.bits, p)}; }
inline F32x16 load_masked(const bf16* p, Mask16 m) { return {widen_bf16(_mm256_maskz_loadu_epi16(m.bits, p))}; }
inline F32x16 load_masked(const f16* p, Mask16 m) { return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m.bits, p))}; }
inline void store(float* p, F32x16 a) { _mm512_storeu_ps(p, a.v); }
inline void store(bf16* p, F32x16 a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow_bf16(a.v)); }
inline void store(f16* p, F32x16 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
inline void store_masked(float* p, Mask16 m, F32x16 a) { _mm512_mask_storeu_ps(p, m.bits, a.v); }
inline void store_masked(bf16* p, Mask16 m, F32x16 a) { _mm256_mask_storeu_epi16(p, m.bits, narrow_bf16(a.v)); }
inline void store_masked(f16* p, Mask16 m, F32x16 a) {
  _mm256_mask_storeu_epi16(p, m.bits, _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
inline F32x16 add(F32x16 a, F32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F32x16 sub(F32x16 a, F32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline F32x16 mul(F32x16 a, F32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F32x16 div(F32x16 a, F32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline F32x16 sqrt(F32x16 a) { return {_mm512_sqrt_ps(a.v)}; }
inline F32x16 max(F32x16 a, F32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline F32x16 min(F32x16 a, F32x16 b) { return {_mm512_min_ps(a.v, b.v)}; }
inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline F32x16 select(Mask16 m, F32x16 a, F32x16 b) { return {_mm512_mask_blend_ps(m.bits, b.v, a.v)}; }
inline F32x16 round_to_bf16(F32x16 a) { return {widen_bf16(narrow_bf16(a.v))}; }
// For values that are exact in bf16 (from round_to_bf16): copies only the upper halves.
inline void store_exact(bf16* p, F32x16 a) {
  const __m512i high = _mm512_srli_epi32(_mm512_castps_si512(a.v), 16);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(high));
}
inline F32x16 round_even(F32x16 a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// p * 2^n for an integer n, rounded once.
inline F32x16 times_exp2(F32x16 p, F32x16 n) { return {_mm512_scalef_ps(p.v, n.v)}; }
inline float lane(F32x16 a, int i) {
  alignas(64) float t[16];
  _mm512_store_ps(t, a.v);
  return t[i];
}
// The same reduction tree on all targets: lanes i and i + 8, then i and i + 4, i + 2, i + 1.
// (Extracting half 0 rather than casting: GCC 12 warns about an undefined vector in its own cast.)
inline float reduce_add(F32x16 a) {
  const __m256 h = _mm256_add_ps(_mm512_extractf32x8_ps(a.v, 0), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
}
inline float reduce_max(F32x16 a) { return _mm512_reduce_max_ps(a.v); }
