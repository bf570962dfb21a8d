// F32x16 in plain C++. a * b + c rounds twice here: without hardware support a true fma would be a library call.
struct F32x16 {
  float v[16];
};
struct Mask16 {
  uint32_t bits;  // lane i is active if bit i is set
};

#define RUBRICATE_LANES(expression)                   \
  F32x16 r;                                           \
  for (int i = 0; i < 16; ++i) r.v[i] = (expression); \
  return r

inline F32x16 set1(float x) { RUBRICATE_LANES(x); }
inline F32x16 zero() { return set1(0.0f); }
inline Mask16 first_lanes(int64_t n) { return {n >= 16 ? 0xffffu : (1u << n) - 1u}; }
template <typename T>
inline F32x16 load(const T* p) {
  F32x16 r;
  for (int i = 0; i < 16; ++i) {
    T x;
    std::memcpy(&x, p + i, sizeof(T));
    r.v[i] = to_float(x);
  }
  return r;
}
template <typename T>
inline F32x16 load_masked(const T* p, Mask16 m) {  // inactive lanes are 0 and not read
  F32x16 r;
  for (int i = 0; i < 16; ++i) {
    r.v[i] = 0.0f;
    if (m.bits >> i & 1u) {
      T x;
      std::memcpy(&x, p + i, sizeof(T));
      r.v[i] = to_float(x);
    }
  }
  return r;
}
template <typename T>
inline void store(T* p, const F32x16& a) {
  for (int i = 0; i < 16; ++i) p[i] = from_float<T>(a.v[i]);
}
template <typename T>
inline void store_masked(T* p, Mask16 m, const F32x16& a) {
  for (int i = 0; i < 16; ++i)
    if (m.bits >> i & 1u) p[i] = from_float<T>(a.v[i]);
}
inline F32x16 add(const F32x16& a, const F32x16& b) { RUBRICATE_LANES(a.v[i] + b.v[i]); }
inline F32x16 sub(const F32x16& a, const F32x16& b) { RUBRICATE_LANES(a.v[i] - b.v[i]); }
inline F32x16 mul(const F32x16& a, const F32x16& b) { RUBRICATE_LANES(a.v[i] * b.v[i]); }
inline F32x16 div(const F32x16& a, const F32x16& b) { RUBRICATE_LANES(a.v[i] / b.v[i]); }
inline F32x16 sqrt(const F32x16& a) { RUBRICATE_LANES(__builtin_sqrtf(a.v[i])); }
inline F32x16 max(const F32x16& a, const F32x16& b) { RUBRICATE_LANES(a.v[i] > b.v[i] ? a.v[i] : b.v[i]); }
inline F32x16 min(const F32x16& a, const F32x16& b) { RUBRICATE_LANES(a.v[i] < b.v[i] ? a.v[i] : b.v[i]); }
inline F32x16 fma(const F32x16& a, const F32x16& b, const F32x16& c) { RUBRICATE_LANES(a.v[i] * b.v[i] + c.v[i]); }
inline F32x16 select(Mask16 m, const F32x16& a, const F32x16& b) {
  RUBRICATE_LANES(m.bits >> i & 1u ? a.v[i] : b.v[i]);
}
inline F32x16 round_to_bf16(const F32x16& a) { RUBRICATE_LANES(to_float(from_float<bf16>(a.v[i]))); }
// For values that are exact in bf16 (from round_to_bf16): copies only the upper halves.
inline void store_exact(bf16* p, const F32x16& a) { store(p, a); }
inline F32x16 round_even(const F32x16& a) { RUBRICATE_LANES(__builtin_rintf(a.v[i])); }
// 2^n for integral n in [-126, 127].
inline F32x16 exp2i(const F32x16& n) {
  RUBRICATE_LANES(std::bit_cast<float>((static_cast<int32_t>(n.v[i]) + 127) << 23));
}
inline float lane(const F32x16& a, int i) { return a.v[i]; }
inline float reduce_add(const F32x16& a) {
  float t[8];
  for (int i = 0; i < 8; ++i) t[i] = a.v[i] + a.v[i + 8];
  for (int n = 4; n > 0; n /= 2)
    for (int i = 0; i < n; ++i) t[i] = t[i] + t[i + n];
  return t[0];
}
inline float reduce_max(const F32x16& a) {
  float r = a.v[0];
  for (int i = 1; i < 16; ++i) r = a.v[i] > r ? a.v[i] : r;
  return r;
}
#undef RUBRICATE_LANES
