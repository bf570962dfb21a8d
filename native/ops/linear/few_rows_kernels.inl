// Few rows of x by the rows of a weight, for one instruction set. A word: as in linear_kernels.inl.
//
// Pieces of the weight, kLanes rows by four words, are transposed in registers, so that lanes are rows of the weight; a
// word of x is broadcast to them.
#if defined(RUBRICATE_TARGET_AVX2) || defined(RUBRICATE_TARGET_AVX512)
#include "ops/linear/linear_transpose.inl"

constexpr int64_t kMostRows = 16;     // of x
constexpr int64_t kMostTogether = 8;  // of x, whose sums are in registers at a time
constexpr int64_t kBlockCols = 256;

#if defined(RUBRICATE_TARGET_AVX512)
inline Lanes fma_lanes(Lanes a, Lanes b, Lanes c) { return _mm512_fmadd_ps(a, b, c); }
inline Lanes broadcast_word(const void* p) {
  int32_t word;
  std::memcpy(&word, p, sizeof(word));
  return _mm512_castsi512_ps(_mm512_set1_epi32(word));
}
#else
inline Lanes fma_lanes(Lanes a, Lanes b, Lanes c) { return _mm256_fmadd_ps(a, b, c); }
inline Lanes broadcast_word(const void* p) {
  int32_t word;
  std::memcpy(&word, p, sizeof(word));
  return _mm256_castsi256_ps(_mm256_set1_epi32(word));
}
#endif

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

// Four words of a row: fp32, or pairs of bf16, which stay together through a transpose.
template <typename T>
struct Quad {
  static constexpr int64_t k = 1;  // of k in a word
  static __m128 load(const float* p) { return _mm_loadu_ps(p); }
  static __m128 load(const f16* p) { return _mm_cvtph_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); }
};
template <>
struct Quad<bf16> {
  static constexpr int64_t k = 2;
  static __m128 load(const bf16* p) { return _mm_castsi128_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
};

// quads[j]: of rows j, j + 4, ... side by side. After the transpose lane i of quads[j] is word j of row i.
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

// Rows are taken in as few groups as possible, of sizes as equal as possible.
inline int64_t groups_of(int64_t rows) { return (rows + kMostTogether - 1) / kMostTogether; }
inline int64_t group_begin(int64_t rows, int64_t group) { return rows * group / groups_of(rows); }

// Group after group, [word][row of the group].
template <typename Word, typename T>
inline void pack_x(const MatmulArgs& g, float* x) {
  constexpr int64_t step = kLanes * Word::k;
  const int64_t words = (g.k + Word::k - 1) / Word::k;
  const T* data = static_cast<const T*>(g.a);
  for (int64_t group = 0; group < groups_of(g.m); ++group) {
    const int64_t first = group_begin(g.m, group), rows = group_begin(g.m, group + 1) - first;
    float* out = x + first * words;
    for (int64_t at = 0; at < g.k; at += step)
      for (int64_t i = 0; i < rows; ++i) {
        float row[kLanes];
        const T* p = data + (first + i) * g.a_stride + at;
        if (at + step <= g.k) {
          store_lanes(row, Word::load(p));
        } else {
          T values[step] = {};
          std::memcpy(values, p, static_cast<size_t>(g.k - at) * sizeof(T));
          store_lanes(row, Word::load(values));
        }
        const int64_t word = at / Word::k;
        for (int64_t j = 0; j < std::min(kLanes, words - word); ++j) out[(word + j) * rows + i] = row[j];
      }
  }
}

// ---- one group of rows of x by a block of the weight's rows --------------------------------------------------------

template <typename Word, typename T, int R>
inline void add_words(const float* x, Lanes w, Lanes (&sum)[R]) {
  if constexpr (Quad<T>::k == Word::k) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sum[r] = Word::multiply_add(broadcast_word(x + r), w, sum[r]);
  } else {
    const Lanes low = low_bf16(w), high = high_bf16(w);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sum[r] = Word::multiply_add(broadcast_word(x + r), low, sum[r]);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sum[r] = Word::multiply_add(broadcast_word(x + R + r), high, sum[r]);
  }
}

// R rows of x by Groups * kLanes rows of the weight, over whole cache lines of k. A line of each row is used up before
// the next rows' lines are read: rows a power of two apart would push each other out of the level-1 cache.
template <typename Word, typename T, int R, int Groups>
RUBRICATE_FLAT void across(const T* w, int64_t stride, int64_t k, const float* x, float* sums) {
  constexpr int64_t step = 4 * Quad<T>::k, line = 64 / static_cast<int64_t>(sizeof(T));
  Lanes sum[Groups][R];
#pragma GCC unroll 4
  for (int g = 0; g < Groups; ++g)
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sum[g][r] = zero_lanes();
  for (const T* end = w + k; w < end; w += line, x += line / Word::k * R) {
#pragma GCC unroll 4
    for (int g = 0; g < Groups; ++g)
      for (int64_t quad = 0; quad < line; quad += step) {
        Lanes t[4];
        transposed_quads(t, [&](int64_t i) { return Quad<T>::load(w + (g * kLanes + i) * stride + quad); });
#pragma GCC unroll 4
        for (int64_t i = 0; i < 4; ++i) add_words<Word, T>(x + (quad + i * Quad<T>::k) / Word::k * R, t[i], sum[g]);
      }
  }
#pragma GCC unroll 4
  for (int g = 0; g < Groups; ++g)
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) store_lanes(sums + (g * R + r) * kLanes, sum[g][r]);
}

// Goes on with the sums of kLanes rows of the weight over the `k` that are left.
template <typename Word, typename T>
void across_rest(const T* w, int64_t stride, int64_t k, const float* x, int64_t rows, float* sums) {
  for (int64_t at = 0; at < k; at += Word::k, x += rows) {
    T column[kLanes][Word::k] = {};
    for (int64_t i = 0; i < kLanes; ++i)
      std::memcpy(column[i], w + i * stride + at, static_cast<size_t>(std::min(Word::k, k - at)) * sizeof(T));
    const Lanes words = Word::load(column[0]);
    for (int64_t r = 0; r < rows; ++r)
      store_lanes(sums + r * kLanes, Word::multiply_add(broadcast_word(x + r), words, load_lanes(sums + r * kLanes)));
  }
}

template <typename Word, typename T, int R>
void across_block(const MatmulArgs& g, const float* x, int64_t col, int64_t cols, float* sums) {
  constexpr int groups = R <= 4 ? 2 : 1;  // enough sums under way to hide the latency of an addition
  constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(T)), width = groups * kLanes;
  const int64_t whole = g.k / line * line;
  const T* w = static_cast<const T*>(g.b) + col * g.b_stride;
  const int64_t each = cols / width;
  alignas(64) float some[R * width];
  const auto run = [&](int64_t n, int64_t apart, auto take) {
    constexpr int G = decltype(take)::value;
    across<Word, T, R, G>(w + n * g.b_stride, apart * g.b_stride, whole, x, some);
    if (whole < g.k)
      for (int i = 0; i < G; ++i)
        across_rest<Word>(w + (n + i * kLanes * apart) * g.b_stride + whole, apart * g.b_stride, g.k - whole,
                          x + whole / Word::k * R, R, some + i * kLanes * R);
    for (int64_t i = 0; i < G * kLanes; ++i)
      for (int r = 0; r < R; ++r)
        sums[r * kBlockCols + n + i * apart] = some[(i / kLanes * R + r) * kLanes + i % kLanes];
  };
  for (int64_t j = 0; j < each; ++j) run(j, each, std::integral_constant<int, groups>());
  for (int64_t n = each * width; n < cols; n += kLanes) run(n, 1, std::integral_constant<int, 1>());
}

// R: the rows of the group, counted down to.
template <typename Word, typename T, int R = kMostTogether>
void few_rows_group(const MatmulArgs& g, int64_t rows, const float* x, int64_t col, int64_t cols, float* sums) {
  if constexpr (R > 1)
    if (rows < R) return few_rows_group<Word, T, R - 1>(g, rows, x, col, cols, sums);
  across_block<Word, T, R>(g, x, col, cols, sums);
}

// ---- a range of the weight's rows ----------------------------------------------------------------------------------

template <typename T>
void finish_few_rows(const MatmulArgs& g, int64_t col, int64_t cols, const float* sums) {
  for (int64_t i = 0; i < g.m; ++i) {
    T* c = static_cast<T*>(g.c) + i * g.c_stride + col;
    for_lanes(cols, [&](int64_t j, auto mask) {
      F32x16 value = load(sums + i * kBlockCols + j);
      if (g.bias != nullptr) value = add(value, load_masked(g.bias + col + j, mask));
      store_masked(c + j, mask, value);
    });
  }
}

// Columns past the last whole kLanes are computed by a block that ends where the matrix does; C has at least kLanes.
template <typename Word, typename T>
void few_rows_range(const MatmulArgs& g, const float* x, int64_t begin, int64_t end) {
  alignas(64) float sums[kMostRows * kBlockCols + 16];  // read over whole vectors
  const int64_t words = (g.k + Word::k - 1) / Word::k;
  for (int64_t col = begin; col < end;) {
    const int64_t wanted = std::min(kBlockCols, end - col);
    const int64_t cols = wanted < kLanes ? kLanes : wanted / kLanes * kLanes;
    const int64_t first_col = std::min(col, g.n - cols), used = std::min(wanted, cols);
    for (int64_t group = 0; group < groups_of(g.m); ++group) {
      const int64_t first = group_begin(g.m, group), rows = group_begin(g.m, group + 1) - first;
      few_rows_group<Word, T>(g, rows, x + first * words, first_col, cols, sums + first * kBlockCols);
    }
    if (g.c_dtype == DType::f32)
      finish_few_rows<float>(g, col, used, sums + (col - first_col));
    else
      finish_few_rows<bf16>(g, col, used, sums + (col - first_col));
    col += used;
  }
}

// ---- what few_rows_cpu.cc calls -------------------------------------------------------------------------------------

inline bool pairs([[maybe_unused]] const MatmulArgs& g) {
#if defined(RUBRICATE_TARGET_AVX512_BF16)
  return g.a_dtype == DType::bf16 && g.b_dtype == DType::bf16;
#else
  return false;
#endif
}

inline bool few_rows_fit(int64_t m, int64_t n) { return m <= kMostRows && n >= kLanes; }

// Words of x, packed.
inline int64_t few_rows_words(const MatmulArgs& g) { return g.m * (pairs(g) ? (g.k + 1) / 2 : g.k); }

inline void few_rows_pack(const MatmulArgs& g, float* x) {
#if defined(RUBRICATE_TARGET_AVX512_BF16)
  if (pairs(g)) return pack_x<Pair, bf16>(g, x);
#endif
  if (g.a_dtype == DType::f32)
    pack_x<Single, float>(g, x);
  else
    pack_x<Single, bf16>(g, x);
}

// Columns [begin, end) of C.
inline void few_rows_columns(const MatmulArgs& g, const float* x, int64_t begin, int64_t end) {
#if defined(RUBRICATE_TARGET_AVX512_BF16)
  if (pairs(g)) return few_rows_range<Pair, bf16>(g, x, begin, end);
#endif
  switch (g.b_dtype) {
    case DType::f32:
      return few_rows_range<Single, float>(g, x, begin, end);
    case DType::bf16:
      return few_rows_range<Single, bf16>(g, x, begin, end);
    default:
      return few_rows_range<Single, f16>(g, x, begin, end);
  }
}
#else
inline bool few_rows_fit(int64_t, int64_t) { return false; }  // two lanes: the packed matmul is as good
inline int64_t few_rows_words(const MatmulArgs&) { return 0; }
inline void few_rows_pack(const MatmulArgs&, float*) {}
inline void few_rows_columns(const MatmulArgs&, const float*, int64_t, int64_t) {}
#endif
