// The machine's peak on this instruction set: a register-only loop of multiply-adds, and a plain read of memory.

// 24 independent sums: enough for two units with a latency of 4 or more, and they fit into the 32 (or 2 x 16)
// registers.
#if defined(RUBRICATE_TARGET_AVX512)
constexpr int kSums = 24;
#elif defined(RUBRICATE_TARGET_AVX2)
constexpr int kSums = 6;  // F32x16 is two registers here
#elif defined(RUBRICATE_TARGET_NEON)
constexpr int kSums = 6;  // four registers
#else
constexpr int kSums = 2;
#endif

inline F32x16 multiply_add(F32x16 a, F32x16 b, F32x16 c, [[maybe_unused]] bool bf16_pairs) {
#if defined(RUBRICATE_TARGET_AVX512_BF16)
  if (bf16_pairs) return {_mm512_dpbf16_ps(c.v, (__m512bh)a.v, (__m512bh)b.v)};
#endif
  return fma(a, b, c);
}

template <bool Pairs>
inline double register_peak_of(int64_t steps, float* out) {
  F32x16 sum[kSums];
  for (int i = 0; i < kSums; ++i) sum[i] = zero();
  const F32x16 a = load(out), b = load(out + 16);
  for (int64_t step = 0; step < steps; ++step)
#pragma GCC unroll 24
    for (int i = 0; i < kSums; ++i) sum[i] = multiply_add(a, b, sum[i], Pairs);
  for (int i = 0; i < kSums; ++i) store(out, add(load(out), sum[i]));
  return 32.0 * kSums * static_cast<double>(steps);
}

#if defined(RUBRICATE_TARGET_AVX512_BF16)
inline double tile_peak(int64_t steps) {
  const tiles::TileScope scope;
  tiles::clear<4>();
  tiles::clear<5>();
  for (int64_t step = 0; step < steps; ++step) {
    tiles::multiply_add<0, 4, 5>();
    tiles::multiply_add<1, 4, 5>();
    tiles::multiply_add<2, 4, 5>();
    tiles::multiply_add<3, 4, 5>();
  }
  return 4.0 * 2.0 * 2.0 * tiles::kRows * tiles::kWords * tiles::kWords * static_cast<double>(steps);
}
#endif

// The number of operations; if the instruction set has bf16 pairs, four per lane.
inline double register_peak(int64_t steps, [[maybe_unused]] bool bf16_pairs, float* out) {
#if defined(RUBRICATE_TARGET_AVX512_BF16)
  if (bf16_pairs && cpu_path() == CpuPath::amx_bf16) return tile_peak(steps / 4);
  if (bf16_pairs) return 2.0 * register_peak_of<true>(steps, out);
#endif
  return register_peak_of<false>(steps, out);
}

inline float read_memory(const float* p, int64_t count) {
  F32x16 sum[4] = {zero(), zero(), zero(), zero()};
  for (int64_t i = 0; i + 64 <= count; i += 64)
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) sum[j] = add(sum[j], load(p + i + 16 * j));
  return reduce_add(add(add(sum[0], sum[1]), add(sum[2], sum[3])));
}
