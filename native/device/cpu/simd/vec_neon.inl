// F32x16 on NEON, which every AArch64 processor has: four registers of four lanes. Each function has the bits of AVX2's: max and min
// return the second operand if the first is not larger or smaller (NEON's own instructions differ for NaN and for zeros), and sums are
// added in the same tree.
struct F32x16 {
  float32x4_t a, b, c, d;
};
struct Mask16 {
  uint32x4_t a, b, c, d;  // all ones in the active lanes
  int64_t count;          // active lanes: always the first ones
};

inline F32x16 set1(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x), vdupq_n_f32(x), vdupq_n_f32(x)}; }
inline F32x16 zero() { return set1(0.0f); }
inline Mask16 first_lanes(int64_t n) {
  const uint32x4_t count = vdupq_n_u32(static_cast<uint32_t>(n > 16 ? 16 : n));
  const uint32x4_t lanes = {0, 1, 2, 3};
  const auto below = [&](uint32_t first) { return vcltq_u32(vaddq_u32(lanes, vdupq_n_u32(first)), count); };
  return {below(0), below(4), below(8), below(12), n > 16 ? 16 : n};
}

// f of each register.
template <typename Function>
inline F32x16 each(F32x16 x, Function&& f) {
  return {f(x.a), f(x.b), f(x.c), f(x.d)};
}
inline float32x4_t widen(uint16x4_t x, const bf16*) { return vreinterpretq_f32_u32(vshll_n_u16(x, 16)); }
inline float32x4_t widen(uint16x4_t x, const f16*) { return vcvt_f32_f16(vreinterpret_f16_u16(x)); }
// Rounds to nearest even; NaNs become quiet.
inline uint16x4_t narrow(float32x4_t x, const bf16*) {
  const uint32x4_t u = vreinterpretq_u32_f32(x);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
  const uint32x4_t r = vaddq_u32(vaddq_u32(u, vdupq_n_u32(0x7fff)), odd);
  return vshrn_n_u32(vbslq_u32(vceqq_f32(x, x), r, vorrq_u32(u, vdupq_n_u32(0x400000))), 16);
}
inline uint16x4_t narrow(float32x4_t x, const f16*) { return vreinterpret_u16_f16(vcvt_f16_f32(x)); }

inline F32x16 load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}; }
template <typename T>
inline F32x16 load(const T* p) {
  const uint16_t* q = reinterpret_cast<const uint16_t*>(p);
  return {widen(vld1_u16(q), p), widen(vld1_u16(q + 4), p), widen(vld1_u16(q + 8), p), widen(vld1_u16(q + 12), p)};
}
template <typename T>
inline F32x16 load_masked(const T* p, Mask16 m) {
  alignas(16) T t[16] = {};
  std::memcpy(t, p, static_cast<size_t>(m.count) * sizeof(T));
  return load(t);
}
inline void store(float* p, F32x16 x) {
  vst1q_f32(p, x.a);
  vst1q_f32(p + 4, x.b);
  vst1q_f32(p + 8, x.c);
  vst1q_f32(p + 12, x.d);
}
template <typename T>
inline void store(T* p, F32x16 x) {
  uint16_t* q = reinterpret_cast<uint16_t*>(p);
  vst1_u16(q, narrow(x.a, p));
  vst1_u16(q + 4, narrow(x.b, p));
  vst1_u16(q + 8, narrow(x.c, p));
  vst1_u16(q + 12, narrow(x.d, p));
}
template <typename T>
inline void store_masked(T* p, Mask16 m, F32x16 x) {
  alignas(16) T t[16];
  store(t, x);
  std::memcpy(p, t, static_cast<size_t>(m.count) * sizeof(T));
}

inline F32x16 add(F32x16 x, F32x16 y) {
  return {vaddq_f32(x.a, y.a), vaddq_f32(x.b, y.b), vaddq_f32(x.c, y.c), vaddq_f32(x.d, y.d)};
}
inline F32x16 sub(F32x16 x, F32x16 y) {
  return {vsubq_f32(x.a, y.a), vsubq_f32(x.b, y.b), vsubq_f32(x.c, y.c), vsubq_f32(x.d, y.d)};
}
inline F32x16 mul(F32x16 x, F32x16 y) {
  return {vmulq_f32(x.a, y.a), vmulq_f32(x.b, y.b), vmulq_f32(x.c, y.c), vmulq_f32(x.d, y.d)};
}
inline F32x16 div(F32x16 x, F32x16 y) {
  return {vdivq_f32(x.a, y.a), vdivq_f32(x.b, y.b), vdivq_f32(x.c, y.c), vdivq_f32(x.d, y.d)};
}
inline F32x16 sqrt(F32x16 x) { return {vsqrtq_f32(x.a), vsqrtq_f32(x.b), vsqrtq_f32(x.c), vsqrtq_f32(x.d)}; }
inline float32x4_t larger(float32x4_t x, float32x4_t y) { return vbslq_f32(vcgtq_f32(x, y), x, y); }
inline float32x4_t smaller(float32x4_t x, float32x4_t y) { return vbslq_f32(vcltq_f32(x, y), x, y); }
inline F32x16 max(F32x16 x, F32x16 y) {
  return {larger(x.a, y.a), larger(x.b, y.b), larger(x.c, y.c), larger(x.d, y.d)};
}
inline F32x16 min(F32x16 x, F32x16 y) {
  return {smaller(x.a, y.a), smaller(x.b, y.b), smaller(x.c, y.c), smaller(x.d, y.d)};
}
inline F32x16 fma(F32x16 x, F32x16 y, F32x16 z) {
  return {vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c), vfmaq_f32(z.d, x.d, y.d)};
}
inline F32x16 select(Mask16 m, F32x16 x, F32x16 y) {
  return {vbslq_f32(m.a, x.a, y.a), vbslq_f32(m.b, x.b, y.b), vbslq_f32(m.c, x.c, y.c), vbslq_f32(m.d, x.d, y.d)};
}
inline F32x16 round_to_bf16(F32x16 x) {
  constexpr const bf16* type = nullptr;
  return each(x, [](float32x4_t q) { return widen(narrow(q, type), type); });
}
// For values that are exact in bf16 (from round_to_bf16): copies only the upper halves.
inline void store_exact(bf16* p, F32x16 x) {
  uint16_t* q = reinterpret_cast<uint16_t*>(p);
  const auto upper = [](float32x4_t v) { return vshrn_n_u32(vreinterpretq_u32_f32(v), 16); };
  vst1q_u16(q, vcombine_u16(upper(x.a), upper(x.b)));
  vst1q_u16(q + 8, vcombine_u16(upper(x.c), upper(x.d)));
}
inline F32x16 round_even(F32x16 x) { return {vrndnq_f32(x.a), vrndnq_f32(x.b), vrndnq_f32(x.c), vrndnq_f32(x.d)}; }
// 2^n for integral n in [-126, 127].
inline F32x16 exp2i(F32x16 n) {
  return each(n, [](float32x4_t q) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(q), vdupq_n_s32(127)), 23));
  });
}
inline float lane(F32x16 x, int i) {
  alignas(16) float t[16];
  store(t, x);
  return t[i];
}
// The same reduction tree on all targets: lanes i and i + 8, then i and i + 4, i + 2, i + 1.
inline float reduce_add(F32x16 x) {
  const float32x4_t q = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
  const float32x2_t pair = vadd_f32(vget_low_f32(q), vget_high_f32(q));
  return vget_lane_f32(pair, 0) + vget_lane_f32(pair, 1);
}
inline float reduce_max(F32x16 x) {
  const float32x4_t q = larger(larger(x.a, x.c), larger(x.b, x.d));
  const float32x4_t pair = larger(q, vextq_f32(q, q, 2));
  const float first = vgetq_lane_f32(pair, 0), second = vgetq_lane_f32(pair, 1);
  return first > second ? first : second;
}

inline void transpose_4x4(float32x4_t (&r)[4]) {
  const float32x4x2_t even = vtrnq_f32(r[0], r[1]), odd = vtrnq_f32(r[2], r[3]);
  r[0] = vcombine_f32(vget_low_f32(even.val[0]), vget_low_f32(odd.val[0]));
  r[1] = vcombine_f32(vget_low_f32(even.val[1]), vget_low_f32(odd.val[1]));
  r[2] = vcombine_f32(vget_high_f32(even.val[0]), vget_high_f32(odd.val[0]));
  r[3] = vcombine_f32(vget_high_f32(even.val[1]), vget_high_f32(odd.val[1]));
}
