// The skinny matmul: few rows of x by the rows of a weight, for one instruction set. A word: as in linear_kernels.inl.
//
// With up to kMostAcross rows of x, lanes are rows of the weight: pieces of kLanes rows by four words are transposed in
// registers, and words of x are broadcast to them. With more, on AVX-512, whole lines are transposed; elsewhere lanes are
// rows of x, and words of the weight are broadcast from memory. In all cases the rows of the weight that are read together
// are as far apart as a block allows, so that each is a long stream, which the hardware prefetcher follows.
//
// Of a plain read's bandwidth, on one core of Zen 3, across() has 95 % (90 % with rows 4 KiB apart). Slower were:
// alternating the two groups line by line (80 %); prefetch instructions, along each stream or block by block, at any
// distance (75 %: they share the few buffers for misses of the L1 cache); copying lines to a buffer first (70 %); one
// group (60 %: its chain of additions); alternating three and four groups (65 %, 30 %: too many streams); 16 adjacent
// rows (50 %).
// On Zen 5 with AVX-512, on two cores, across() has 96 % of a plain read with one row of x and 80 % with four. With more,
// across_groups() is used: 65 to 85 % with eight rows, 50 to 60 % with sixteen, where multiply-adds are half of the time.
// Slower were: along() (sixteen rows: 40 %, and 25 % with rows 4 KiB apart, whose lines evict each other), prefetching in
// bursts, and prefetching lines for across().
// The kernel for NEON has the same structure and was not tuned.
#if defined(RUBRICATE_TARGET_AVX2) || defined(RUBRICATE_TARGET_AVX512) || defined(RUBRICATE_TARGET_NEON)
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

// ---- lanes across the weight's rows --------------------------------------------------------------------------------

template <typename Word, typename T, int R>
inline void add_words(const float* x, Lanes w, Lanes (&sum)[R]) {
  if constexpr (Quad<T>::k == Word::k) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) sum[r] = Word::multiply_add(broadcast_word(x + r), w, sum[r]);
  } else {
    const Lanes low = low_bf16(w), high = high_bf16(w);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) sum[r] = Word::multiply_add(broadcast_word(x + r), low, sum[r]);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) sum[r] = Word::multiply_add(broadcast_word(x + R + r), high, sum[r]);
  }
}

// Adds a quad of each of kLanes rows of the weight.
template <typename Word, typename T, int R>
inline void add_quad(const T* w, int64_t stride, const float* x, Lanes (&sum)[R]) {
  Lanes t[4];
  transposed_quads(t, [&](int64_t i) { return Quad<T>::load(w + i * stride); });
#pragma GCC unroll 4
  for (int64_t i = 0; i < 4; ++i) add_words<Word, T>(x + i * Quad<T>::k / Word::k * R, t[i], sum);
}

template <int R>
inline void put_sums(Lanes (&sum)[R], float* sums) {
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    store_lanes(sums + r * kLanes, sum[r]);
    sum[r] = zero_lanes();
  }
}

// Distance in values between the first and the second group of across(): half a cache line, so that they do not wait
// for new lines at the same time. Rows that are a multiple of 4 KiB apart share sets of the L1 cache, which hold only
// the lines of one group with its prefetched lines; the distance keeps the other group in other sets.
template <typename T>
inline int64_t lag_of(int64_t stride, int64_t k) {
  constexpr int64_t size = sizeof(T);
  return std::min(k, (stride * size % 4096 == 0 ? 672 : 32) / size);
}

// R rows of x by `count` times 2 * kLanes rows of the weight, k values of each, a multiple of a cache line. Two groups
// of kLanes rows, `stride` values apart, alternate quad by quad, since one group's chain of additions takes longer than
// memory does. `next`: distance from a row to the same row of the next iteration. sums: [count][2][R][kLanes].
template <typename Word, typename T, int R>
RUBRICATE_FLAT void across(const T* w, int64_t stride, int64_t next, int64_t count, int64_t k, const float* x,
                           float* sums) {
  constexpr int64_t step = 4 * Quad<T>::k, group = R * kLanes;
  const int64_t lag = lag_of<T>(stride, k);
  Lanes first[R], second[R];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) first[r] = second[r] = zero_lanes();
  const T* behind = w + kLanes * stride - next;  // rows of the second group before those of this iteration
  for (int64_t i = 0; i < count; ++i, w += next, sums += 2 * group) {
    for (int64_t at = 0; at < lag; at += step) {
      add_quad<Word>(w + at, stride, x + at / Word::k * R, first);
      if (i > 0) add_quad<Word>(behind + k - lag + at, stride, x + (k - lag + at) / Word::k * R, second);
    }
    if (i > 0) put_sums(second, sums - group);
    behind += next;
    for (int64_t at = lag; at < k; at += step) {
      add_quad<Word>(w + at, stride, x + at / Word::k * R, first);
      add_quad<Word>(behind + at - lag, stride, x + (at - lag) / Word::k * R, second);
    }
    put_sums(first, sums);
  }
  for (int64_t at = k - lag; at < k; at += step) add_quad<Word>(behind + at, stride, x + at / Word::k * R, second);
  put_sums(second, sums - group);
}

// The same for kLanes adjacent rows; sums: [R][kLanes].
template <typename Word, typename T, int R>
RUBRICATE_FLAT void across_last(const T* w, int64_t stride, int64_t k, const float* x, float* sums) {
  Lanes sum[R];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) sum[r] = zero_lanes();
  for (int64_t at = 0; at < k; at += 4 * Quad<T>::k) add_quad<Word>(w + at, stride, x + at / Word::k * R, sum);
  put_sums(sum, sums);
}

// Continues the sums of kLanes rows of the weight with the `k` remaining values.
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

// R rows of x by `cols` rows of the weight, a multiple of kLanes; sums: [R][kBlockCols].
template <typename Word, typename T, int R>
void across_block(const MatmulArgs& g, const float* x, int64_t col, int64_t cols, float* sums) {
  constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(T)), width = 2 * kLanes, group = R * kLanes;
  const int64_t whole = g.k / line * line, apart = cols / width, paired = apart * width;
  const T* w = static_cast<const T*>(g.b) + col * g.b_stride;
  alignas(64) float some[R * kBlockCols];
  if (apart > 0) across<Word, T, R>(w, apart * g.b_stride, g.b_stride, apart, whole, x, some);
  if (paired < cols) across_last<Word, T, R>(w + paired * g.b_stride, g.b_stride, whole, x, some + paired * R);
  for (int64_t i = 0; i < cols / kLanes; ++i) {
    const int64_t first = i < 2 * apart ? i / 2 + i % 2 * kLanes * apart : paired;
    const int64_t next = i < 2 * apart ? apart : 1;
    if (whole < g.k)
      across_rest<Word>(w + first * g.b_stride + whole, next * g.b_stride, g.k - whole, x + whole / Word::k * R, R,
                        some + i * group);
    for (int r = 0; r < R; ++r)
      for (int64_t lane = 0; lane < kLanes; ++lane)
        sums[r * kBlockCols + first + lane * next] = some[i * group + r * kLanes + lane];
  }
}

template <typename Word, typename T, int R = kMostAcross>
void across_rows(const MatmulArgs& g, int64_t rows, const float* x, int64_t col, int64_t cols, float* sums) {
  if constexpr (R > 1)
    if (rows < R) return across_rows<Word, T, R - 1>(g, rows, x, col, cols, sums);
  across_block<Word, T, R>(g, x, col, cols, sums);
}

// ---- lanes across the weight's rows, more rows of x -----------------------------------------------------------------

#if defined(RUBRICATE_TARGET_AVX512)
// A line of 64 bytes, at the address `line`, of each of kLanes rows of the weight, transposed: word j of row i becomes lane
// i of word j, at words + j * 2 * kLanes. Words outside [begin, end) are not read. stride: bytes between rows.
inline void transpose_line(const char* line, int64_t stride, int64_t begin, int64_t end, float* words) {
  Lanes row[kLanes];
  if (begin == 0 && end == kLanes) {
#pragma GCC unroll 16
    for (int64_t i = 0; i < kLanes; ++i) row[i] = _mm512_loadu_ps(line + i * stride);
  } else {
    const auto mask = static_cast<__mmask16>(first_lanes(end).bits & ~first_lanes(begin).bits);
#pragma GCC unroll 16
    for (int64_t i = 0; i < kLanes; ++i) row[i] = _mm512_maskz_loadu_ps(mask, line + i * stride);
  }
  transpose(row);
#pragma GCC unroll 16
  for (int64_t j = 0; j < kLanes; ++j) store_lanes(words + j * 2 * kLanes, row[j]);
}

// Lines that are prefetched one after another while words are multiplied: in bursts they would stall what follows. One
// line of each of `rows` rows, then the next line of each.
struct LinesAhead {
  const char* at;
  int64_t stride, rows, left;  // stride: bytes between rows; left: rows until the next line
  void prefetch() {
    __builtin_prefetch(at);
    at += stride;
    if (--left > 0) return;
    left = rows;
    at += 64 - rows * stride;
  }
};

// Adds `count` transposed words of two groups of kLanes rows of the weight to the sums of kGroupRows rows of x, and
// prefetches Lines lines for each.
template <typename Word, typename T, int Lines>
inline void add_transposed(const float* words, int64_t count, const float* x, LinesAhead& ahead, float* sums) {
  constexpr int64_t R = kGroupRows;
  LinesAhead next = ahead;
  Lanes first[R], second[R];
#pragma GCC unroll 8
  for (int64_t r = 0; r < R; ++r) {
    first[r] = load_lanes(sums + r * kLanes);
    second[r] = load_lanes(sums + (R + r) * kLanes);
  }
  const auto add = [&](Lanes a, Lanes b) {
#pragma GCC unroll 8
    for (int64_t r = 0; r < R; ++r) {
      const Lanes value = broadcast_word(x + r);
      first[r] = Word::multiply_add(value, a, first[r]);
      second[r] = Word::multiply_add(value, b, second[r]);
    }
    x += R;
  };
  for (int64_t j = 0; j < count; ++j, words += 2 * kLanes) {
#pragma GCC unroll 2
    for (int line = 0; line < Lines; ++line) next.prefetch();
    const Lanes a = load_lanes(words), b = load_lanes(words + kLanes);
    if constexpr (Quad<T>::k == Word::k) {
      add(a, b);
    } else {
      add(low_bf16(a), low_bf16(b));
      add(high_bf16(a), high_bf16(b));
    }
  }
  ahead = next;
#pragma GCC unroll 8
  for (int64_t r = 0; r < R; ++r) {
    store_lanes(sums + r * kLanes, first[r]);
    store_lanes(sums + (R + r) * kLanes, second[r]);
  }
}

// Groups (1 or 2) of kGroupRows rows of x, `x_group` words apart, by two groups of kLanes rows of the weight, `words` words
// of 4 bytes of each. Some lines at a time are transposed into memory, and each group of x is multiplied by them: as in a
// matmul's tile, a word of x serves two groups of the weight. w: of the first row; stride: bytes between rows. before:
// words from the start of a cache line to w, since with loads that cross lines a decoding step takes 9 % longer; a file's
// tensors begin anywhere. sums: [group of x][group of the weight][R][kLanes].
template <typename Word, typename T, int Groups>
RUBRICATE_FLAT void across_lines(const char* w, int64_t stride, int64_t before, int64_t words, const float* x,
                                 int64_t x_group, float* sums) {
  constexpr int64_t lines = 4, rows = 2 * kLanes, group = rows * kGroupRows, block = lines * kLanes;
  alignas(64) float line[block * rows];
  std::fill(sums, sums + Groups * group, 0.0f);
  const int64_t end = before + words;
  w -= 4 * before;
  for (int64_t at = 0; at < end; at += block, w += 4 * block) {
    for (int64_t i = 0; i < block && at + i < end; i += kLanes)
      for (int64_t half = 0; half < 2; ++half)
        transpose_line(w + 4 * i + half * kLanes * stride, stride, std::max<int64_t>(before - at - i, 0),
                       std::min(end - at - i, kLanes), line + i * rows + half * kLanes);
    const int64_t first = std::max<int64_t>(before - at, 0), count = std::min(end - at, block) - first;
    LinesAhead ahead{w + kLineAhead, stride, rows, rows};
#pragma GCC unroll 2
    for (int64_t g = 0; g < Groups; ++g)
      add_transposed<Word, T, 2 / Groups>(line + first * rows, count, x + g * x_group, ahead, sums + g * group);
    x += count * Quad<T>::k / Word::k * kGroupRows;
  }
}

// Rows of x in groups padded with zeros to kGroupRows rows, by `cols` rows of the weight, a multiple of kLanes; sums:
// [rows of x][kBlockCols].
template <typename Word, typename T, int Groups = 1>
void across_groups(const MatmulArgs& g, const float* x, int64_t col, int64_t cols, float* sums) {
  if constexpr (Groups * kGroupRows < kMostRows)
    if (g.m > Groups * kGroupRows) return across_groups<Word, T, Groups + 1>(g, x, col, cols, sums);
  constexpr int64_t size = sizeof(T), R = kGroupRows, group = R * kLanes;
  const int64_t apart = cols / (2 * kLanes), words = g.k * size / 4, stride = g.b_stride * size;
  const int64_t x_group = (g.k + Word::k - 1) / Word::k * R;
  const T* w = static_cast<const T*>(g.b) + col * g.b_stride;
  const auto address = reinterpret_cast<uintptr_t>(w);
  const int64_t before = stride % 64 == 0 && address % 4 == 0 ? static_cast<int64_t>(address % 64 / 4) : 0;
  alignas(64) float some[Groups * 2 * group];  // [group of x][group of the weight][R][kLanes]
  // The sums of kLanes rows of the weight, `next` rows apart from row `first`, of which the first `done` values are there.
  const auto finish = [&](float* sum, int64_t of_x, int64_t first, int64_t next, int64_t done) {
    if (done < g.k)
      across_rest<Word>(w + first * g.b_stride + done, next * g.b_stride, g.k - done,
                        x + of_x * x_group + done / Word::k * R, R, sum);
    for (int64_t r = 0; r < std::min(R, g.m - of_x * R); ++r)
      for (int64_t lane = 0; lane < kLanes; ++lane)
        sums[(of_x * R + r) * kBlockCols + first + lane * next] = sum[r * kLanes + lane];
  };
  for (int64_t i = 0; i < apart; ++i) {
    across_lines<Word, T, Groups>(reinterpret_cast<const char*>(w) + i * stride, apart * stride, before, words, x,
                                  x_group, some);
    for (int64_t j = 0; j < 2 * Groups; ++j)
      finish(some + j * group, j / 2, i + j % 2 * kLanes * apart, apart, words * 4 / size);
  }
  const int64_t rest = apart * 2 * kLanes, quads = g.k / (4 * Quad<T>::k) * 4 * Quad<T>::k;
  for (int64_t of_x = 0; rest < cols && of_x < Groups; ++of_x) {
    across_last<Word, T, R>(w + rest * g.b_stride, g.b_stride, quads, x + of_x * x_group, some);
    finish(some, of_x, rest, 1, quads);
  }
}
#endif

// ---- lanes along the rows of x -------------------------------------------------------------------------------------

// Rows of the weight by Vectors * kLanes rows of x: enough sums to hide the latency of an addition. If the instruction
// does not take pairs of bf16, a word of the weight holds two k.
template <typename Word, typename T, int Rows, int Vectors>
RUBRICATE_FLAT void along(const T* w, int64_t stride, int64_t k, const float* x, float* sums) {
  constexpr int64_t width = Vectors * kLanes, loaded = 4 / static_cast<int64_t>(sizeof(T));
  Lanes sum[Rows][Vectors];
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sum[i][v] = zero_lanes();
  int64_t at = 0;
  for (; at + loaded <= k; at += loaded, x += loaded / Word::k * width) {
    Lanes first[Vectors], second[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      first[v] = load_lanes(x + v * kLanes);
      if constexpr (loaded != Word::k) second[v] = load_lanes(x + width + v * kLanes);
    }
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const Lanes word = broadcast_word(w + i * stride + at);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) {
        if constexpr (loaded == Word::k) {
          sum[i][v] = Word::multiply_add(first[v], word, sum[i][v]);
        } else {
          sum[i][v] = Word::multiply_add(first[v], low_bf16(word), sum[i][v]);
          sum[i][v] = Word::multiply_add(second[v], high_bf16(word), sum[i][v]);
        }
      }
    }
  }
  if (at < k)  // one bf16 without its pair
    for (int i = 0; i < Rows; ++i) {
      T values[loaded] = {};
      std::memcpy(values, w + i * stride + at, sizeof(T));  // at any address
      const Lanes word = broadcast_word(values);
      for (int v = 0; v < Vectors; ++v)
        sum[i][v] =
            Word::multiply_add(load_lanes(x + v * kLanes), loaded == Word::k ? word : low_bf16(word), sum[i][v]);
    }
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) store_lanes(sums + i * width + v * kLanes, sum[i][v]);
}

// Vectors: at least as many as hold the rows of x.
template <typename Word, typename T, int Vectors = 1>
void along_block(const MatmulArgs& g, const float* x, int64_t col, int64_t cols, float* sums) {
  if constexpr (Vectors * kLanes < kMostRows)
    if (g.m > Vectors * kLanes) return along_block<Word, T, Vectors + 1>(g, x, col, cols, sums);
  constexpr int rows = Vectors == 1 ? std::min<int>(8, kLanes) : 4;
  constexpr int64_t width = Vectors * kLanes;
  const T* w = static_cast<const T*>(g.b) + col * g.b_stride;
  const int64_t each = cols / rows;
  alignas(64) float some[rows * width];
  for (int64_t j = 0; j < each; ++j) {
    along<Word, T, rows, Vectors>(w + j * g.b_stride, each * g.b_stride, g.k, x, some);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t r = 0; r < g.m; ++r) sums[r * kBlockCols + j + i * each] = some[i * width + r];
  }
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

// Columns after the last complete kLanes are computed by a block that ends at the matrix's end; C has at least kLanes.
template <typename Word, typename T>
void few_rows_range(const MatmulArgs& g, const float* x, int64_t begin, int64_t end) {
  alignas(64) float sums[kMostRows * kBlockCols + 16];  // whole vectors are read
  const int64_t words = (g.k + Word::k - 1) / Word::k;
  for (int64_t col = begin; col < end;) {
    const int64_t wanted = std::min(kBlockCols, end - col);
    const int64_t cols = wanted < kLanes ? kLanes : wanted / kLanes * kLanes;
    const int64_t first_col = std::min(col, g.n - cols), used = std::min(wanted, cols);
    if (padded_groups(g) > 0) {
#if defined(RUBRICATE_TARGET_AVX512)
      if constexpr (!std::is_same_v<T, f16>) across_groups<Word, T>(g, x, first_col, cols, sums);
#endif
    } else if (lanes_across(g)) {
      for (int64_t i = 0; i < g.m; i += kMostAcross)
        across_rows<Word, T>(g, std::min(kMostAcross, g.m - i), x + i * words, first_col, cols, sums + i * kBlockCols);
    } else if constexpr (!kUsesGroups && !std::is_same_v<T, f16>) {
      along_block<Word, T>(g, x, first_col, cols, sums);
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

// Rows of the weight that are read together, and the maximum columns of a block.
inline int64_t few_rows_streams(const MatmulArgs& g) { return lanes_across(g) ? 2 * kLanes : g.m <= kLanes ? 8 : 4; }
inline int64_t few_rows_block() { return kBlockCols; }

// Words of x, packed.
inline int64_t few_rows_words(const MatmulArgs& g) {
  return std::max(g.m, row_groups(g).places * std::max<int64_t>(padded_groups(g), 1)) *
         (pairs(g) ? (g.k + 1) / 2 : g.k);
}

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
inline bool few_rows_fit(int64_t, int64_t) { return false; }  // two lanes: the packed matmul is as fast
inline int64_t few_rows_streams(const MatmulArgs&) { return 1; }
inline int64_t few_rows_block() { return 1; }
inline int64_t few_rows_words(const MatmulArgs&) { return 0; }
inline void few_rows_pack(const MatmulArgs&, float*) {}
inline void few_rows_columns(const MatmulArgs&, const float*, int64_t, int64_t) {}
#endif
