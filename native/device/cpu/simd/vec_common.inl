// Functions on F32x16 that are the same for all targets.

#if !defined(RUBRICATE_TARGET_AVX512)
// p * 2^n for an integer n, for p around 1, by exponent bits in two halves, so that subnormal results are right.
inline F32x16 times_exp2(F32x16 p, F32x16 n) {
  const F32x16 half = round_even(mul(n, set1(0.5f)));
  return mul(mul(p, exp2i(half)), exp2i(sub(n, half)));
}
#endif

// e^x: range reduction by ln 2 in two parts, a degree-6 polynomial (Cephes expf's shape), times 2^n. Error below 2 units
// in the last place; exp(-inf) = 0, exp(x > 88.8) = inf, NaN stays NaN, and exp(0) = 1 exactly.
inline F32x16 exp(F32x16 x) {
  const F32x16 clamped = max(set1(-104.0f), min(set1(89.0f), x));  // in this order NaN propagates
  const F32x16 n = round_even(mul(clamped, set1(1.44269504088896341f)));
  F32x16 r = fma(n, set1(-0.693359375f), clamped);
  r = fma(n, set1(2.12194440e-4f), r);
  F32x16 p = set1(1.9875691500e-4f);
  p = fma(p, r, set1(1.3981999507e-3f));
  p = fma(p, r, set1(8.3334519073e-3f));
  p = fma(p, r, set1(4.1665795894e-2f));
  p = fma(p, r, set1(1.6666665459e-1f));
  p = fma(p, r, set1(5.0000001201e-1f));
  p = add(fma(mul(r, r), p, r), set1(1.0f));
  return times_exp2(p, n);
}

// 1 / (1 + e^-x), finite for every finite x.
inline F32x16 sigmoid(F32x16 x) { return div(set1(1.0f), add(set1(1.0f), exp(sub(zero(), x)))); }

// Rounds to the storage type and back: the value that a store followed by a load gives.
template <typename T>
inline F32x16 round_to(F32x16 a);
template <>
inline F32x16 round_to<float>(F32x16 a) {
  return a;
}
template <>
inline F32x16 round_to<bf16>(F32x16 a) {
  return round_to_bf16(a);
}

// All sixteen lanes, known at compile time: like first_lanes(16), but with an unmasked load or store.
struct AllLanes {
  operator Mask16() const { return first_lanes(16); }
};
template <typename T>
inline F32x16 load_masked(const T* p, AllLanes) {
  return load(p);
}
template <typename T>
inline void store_masked(T* p, AllLanes, F32x16 a) {
  store(p, a);
}
inline F32x16 select(AllLanes, F32x16 a, F32x16) { return a; }

// Rounds to the storage type, stores, and returns the rounded value.
template <typename T, typename Mask>
inline F32x16 store_rounded(T* p, Mask mask, F32x16 a) {
  const F32x16 rounded = round_to<T>(a);
  store_masked(p, mask, rounded);
  return rounded;
}
inline F32x16 store_rounded(bf16* p, AllLanes, F32x16 a) {
  const F32x16 rounded = round_to_bf16(a);
  store_exact(p, rounded);
  return rounded;
}

// Calls body(i, mask) over [0, n) in steps of 16; the last step's mask may be partial. The tail runs the same vector
// code as the rest, so an element's value does not depend on its position. A body that takes `auto mask` gets AllLanes
// for whole steps.
template <typename Body>
inline void for_lanes(int64_t n, Body&& body) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) body(i, AllLanes{});
  if (i < n) body(i, first_lanes(n - i));
}
