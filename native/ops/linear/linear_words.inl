// The registers and the size of the matmul's tile, and the words that its panels consist of, for one instruction set.

// A register of the tile.
#if defined(RUBRICATE_TARGET_AVX2)
struct Register {
  __m256 v;
};
constexpr int64_t kRegister = 8;
inline Register zero_register() { return {_mm256_setzero_ps()}; }
inline Register broadcast(float x) { return {_mm256_set1_ps(x)}; }
inline Register load_register(const float* p) { return {_mm256_loadu_ps(p)}; }
inline void store_register(float* p, Register a) { _mm256_storeu_ps(p, a.v); }
inline Register fma(Register a, Register b, Register c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
#elif defined(RUBRICATE_TARGET_NEON)
struct Register {
  float32x4_t v;
};
constexpr int64_t kRegister = 4;
inline Register zero_register() { return {vdupq_n_f32(0.0f)}; }
inline Register broadcast(float x) { return {vdupq_n_f32(x)}; }
inline Register load_register(const float* p) { return {vld1q_f32(p)}; }
inline void store_register(float* p, Register a) { vst1q_f32(p, a.v); }
inline Register fma(Register a, Register b, Register c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
#else
using Register = F32x16;
constexpr int64_t kRegister = 16;
inline Register zero_register() { return zero(); }
inline Register broadcast(float x) { return set1(x); }
inline Register load_register(const float* p) { return load(p); }
inline void store_register(float* p, const Register& a) { store(p, a); }
#endif

// The register tile: kRows by kCols sums. On a busy machine it matters most to have few instructions besides the
// multiply-adds: on two cores of AVX2, 6 by 2 registers and one word per iteration were 3 % slower than this on an idle
// machine, 8 to 10 % on a busy one.
#if defined(RUBRICATE_TARGET_AVX512)
constexpr int kRows = 14, kVectors = 2;  // 28 of 32 registers hold sums
#elif defined(RUBRICATE_TARGET_AVX2)
constexpr int kRows = 4, kVectors = 3;  // 12 of 16; 6 by 2 would load 8 registers for 12 multiply-adds instead of 7
#elif defined(RUBRICATE_TARGET_NEON)
constexpr int kRows = 8, kVectors = 3;  // 24 of 32
#else
constexpr int kRows = 2, kVectors = 1;
#endif
constexpr int64_t kCols = kRegister * kVectors;

// A word of fp32: one value of one k.
struct Single {
  static constexpr int64_t k = 1;
  static Register multiply_add(Register a, Register b, Register c) { return fma(a, b, c); }
};

#if defined(RUBRICATE_TARGET_AVX512_BF16)
// A word of bf16: the values of two consecutive k, the lower k in the lower half; zero if the last one is missing.
struct Pair {
  static constexpr int64_t k = 2;
  static F32x16 multiply_add(F32x16 a, F32x16 b, F32x16 c) {
    return {_mm512_dpbf16_ps(c.v, (__m512bh)a.v, (__m512bh)b.v)};
  }
};
#endif
