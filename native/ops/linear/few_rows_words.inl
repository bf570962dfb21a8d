// What the kernels of few rows share: sizes, words of the weight and of x, and x packed. A word: as in linear_words.inl.
#include "ops/linear/linear_transpose.inl"

constexpr int64_t kMostRows = 16;   // of x
constexpr int64_t kMostAcross = 4;  // of x, with lanes across the weight's rows
constexpr int64_t kBlockCols = 256;
#if defined(RUBRICATE_TARGET_AVX512)
constexpr bool kUsesGroups = true;   // across_groups() with more rows of x than kMostAcross, else along()
constexpr int64_t kGroupRows = 8;    // rows of x in a group
constexpr int64_t kLineAhead = 256;  // bytes of each row of the weight that across_lines() prefetches
#else
constexpr bool kUsesGroups = false;
#endif

#if defined(RUBRICATE_TARGET_AVX512)
inline Lanes fma_lanes(Lanes a, Lanes b, Lanes c) { return _mm512_fmadd_ps(a, b, c); }
inline Lanes broadcast_word(const void* p) {
  int32_t word;
  std::memcpy(&word, p, sizeof(word));
  return _mm512_castsi512_ps(_mm512_set1_epi32(word));
}
#elif defined(RUBRICATE_TARGET_NEON)
inline Lanes fma_lanes(Lanes a, Lanes b, Lanes c) { return vfmaq_f32(c, a, b); }
inline Lanes broadcast_word(const void* p) {
  uint32_t word;
  std::memcpy(&word, p, sizeof(word));
  return vreinterpretq_f32_u32(vdupq_n_u32(word));
}
#else
inline Lanes fma_lanes(Lanes a, Lanes b, Lanes c) { return _mm256_fmadd_ps(a, b, c); }
inline Lanes broadcast_word(const void* p) {
  int32_t word;
  std::memcpy(&word, p, sizeof(word));
  return _mm256_castsi256_ps(_mm256_set1_epi32(word));
}
#endif

// Stores the first `count` lanes.
inline void store_first(float* p, const Lanes& a, int64_t count) {
#if defined(RUBRICATE_TARGET_AVX512)
  _mm512_mask_storeu_ps(p, first_lanes(count).bits, a);
#else
  std::memcpy(p, &a, static_cast<size_t>(count) * sizeof(float));
#endif
}

struct Single {
  static constexpr int64_t k = 1;
  static Lanes multiply_add(Lanes a, Lanes b, Lanes c) { return fma_lanes(a, b, c); }
  template <typename T>
  static Lanes load(const T* p) {
    return load_lanes(p);
  }
};
#if defined(RUBRICATE_TARGET_AVX512_BF16)
struct Pair {
  static constexpr int64_t k = 2;
  static Lanes multiply_add(Lanes a, Lanes b, Lanes c) { return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b); }
  static Lanes load(const bf16* p) { return load_bits(p); }
};
#endif

// Four words of a row: fp32, or pairs of bf16, which a transpose keeps together.
#if defined(RUBRICATE_TARGET_NEON)
template <typename T>
struct Quad {
  static constexpr int64_t k = 1;  // values of k in a word
  static Lanes load(const T* p) { return load_lanes(p); }
};
template <>
struct Quad<bf16> {
  static constexpr int64_t k = 2;
  static Lanes load(const bf16* p) { return load_bits(p); }
};
#else
template <typename T>
struct Quad {
  static constexpr int64_t k = 1;  // values of k in a word
  static __m128 load(const float* p) { return _mm_loadu_ps(p); }
  static __m128 load(const f16* p) { return _mm_cvtph_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); }
};
template <>
struct Quad<bf16> {
  static constexpr int64_t k = 2;
  static __m128 load(const bf16* p) { return _mm_castsi128_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
};
#endif

// quads[j]: quads of rows j, j + 4, ... After the transpose, lane i of quads[j] is word j of row i.
#if defined(RUBRICATE_TARGET_AVX512)
template <typename Load>
inline void transposed_quads(Lanes (&quads)[4], const Load& load) {
  Lanes t[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const Lanes a = _mm512_insertf32x4(_mm512_castps128_ps512(load(j)), load(j + 4), 1);
    t[j] = _mm512_insertf32x4(_mm512_insertf32x4(a, load(j + 8), 2), load(j + 12), 3);
  }
  const Lanes a = _mm512_unpacklo_ps(t[0], t[1]), b = _mm512_unpackhi_ps(t[0], t[1]);
  const Lanes c = _mm512_unpacklo_ps(t[2], t[3]), d = _mm512_unpackhi_ps(t[2], t[3]);
  quads[0] = _mm512_shuffle_ps(a, c, 0x44), quads[1] = _mm512_shuffle_ps(a, c, 0xee);
  quads[2] = _mm512_shuffle_ps(b, d, 0x44), quads[3] = _mm512_shuffle_ps(b, d, 0xee);
}
#elif defined(RUBRICATE_TARGET_NEON)
template <typename Load>
inline void transposed_quads(Lanes (&quads)[4], const Load& load) {
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) quads[j] = load(j);
  transpose(quads);
}
#else
template <typename Load>
inline void transposed_quads(Lanes (&quads)[4], const Load& load) {
  Lanes t[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) t[j] = _mm256_insertf128_ps(_mm256_castps128_ps256(load(j)), load(j + 4), 1);
  const Lanes a = _mm256_unpacklo_ps(t[0], t[1]), b = _mm256_unpackhi_ps(t[0], t[1]);
  const Lanes c = _mm256_unpacklo_ps(t[2], t[3]), d = _mm256_unpackhi_ps(t[2], t[3]);
  quads[0] = _mm256_shuffle_ps(a, c, 0x44), quads[1] = _mm256_shuffle_ps(a, c, 0xee);
  quads[2] = _mm256_shuffle_ps(b, d, 0x44), quads[3] = _mm256_shuffle_ps(b, d, 0xee);
}
#endif

// ---- x -------------------------------------------------------------------------------------------------------------

// Converting a broadcast word of f16 to fp32 is slow, so f16 always goes across, kMostAcross rows of x at a time.
inline bool lanes_across(const MatmulArgs& g) { return kUsesGroups || g.m <= kMostAcross || g.b_dtype == DType::f16; }

// Groups of x for across_groups(); 0: the matmul has another kernel.
inline int64_t padded_groups([[maybe_unused]] const MatmulArgs& g) {
#if defined(RUBRICATE_TARGET_AVX512)
  if (g.m > kMostAcross && g.b_dtype != DType::f16) return (g.m + kGroupRows - 1) / kGroupRows;
#endif
  return 0;
}

// Rows of x are packed in groups; a group's words are contiguous, [word][place].
struct RowGroups {
  int64_t rows;    // of x in a group; the last group may have fewer
  int64_t places;  // at least `rows`; 0: as many as the group has rows
};
inline RowGroups row_groups(const MatmulArgs& g) {
#if defined(RUBRICATE_TARGET_AVX512)
  if (padded_groups(g) > 0) return {kGroupRows, kGroupRows};
#endif
  if (lanes_across(g)) return {kMostAcross, 0};
  return {kMostRows, (g.m + kLanes - 1) / kLanes * kLanes};
}

// Words of kLanes * Word::k values from p. `left` of them exist; the rest are zero.
template <typename Word, typename T>
inline Lanes load_words(const T* p, int64_t left) {
  constexpr int64_t step = kLanes * Word::k;
  if (left >= step) return Word::load(p);
  T values[step] = {};
  std::memcpy(values, p, static_cast<size_t>(left) * sizeof(T));
  return Word::load(values);
}

template <typename Word, typename T>
RUBRICATE_FLAT void pack_x(const MatmulArgs& g, float* x) {
  constexpr int64_t step = kLanes * Word::k;
  const int64_t words = (g.k + Word::k - 1) / Word::k;
  const RowGroups groups = row_groups(g);
  const T* data = static_cast<const T*>(g.a);
  for (int64_t first = 0; first < g.m; first += groups.rows) {
    const int64_t rows = std::min(groups.rows, g.m - first), places = std::max(groups.places, rows);
    for (int64_t i = 0; i < rows; i += kLanes)
      for (int64_t at = 0; at < g.k; at += step) {
        Lanes lanes[kLanes];
#pragma GCC unroll 16
        for (int64_t j = 0; j < kLanes; ++j)
          lanes[j] = i + j < rows ? load_words<Word>(data + (first + i + j) * g.a_stride + at, g.k - at) : zero_lanes();
        float* out = x + first * words + at / Word::k * places + i;
        const int64_t count = std::min(kLanes, words - at / Word::k);
        if (places == 1 && count == kLanes) {
          store_lanes(out, lanes[0]);
          continue;
        }
        transpose(lanes);
        const int64_t stored = std::min(kLanes, places - i);
        for (int64_t j = 0; j < count; ++j) {
          if (stored == kLanes)
            store_lanes(out + j * places, lanes[j]);
          else
            store_first(out + j * places, lanes[j], stored);
        }
      }
  }
}
