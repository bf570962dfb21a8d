// Packing and the register tile of the matmul, for one instruction set.
#include "ops/linear/linear_transpose.inl"

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

// ---- packing: the only code that knows how an operand is stored ----------------------------------------------------

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

// Stores the first `lanes` lanes, for a store that would reach past the panel.
inline void store_some(float* p, Lanes a, int64_t lanes) {
  float words[kLanes];
  store_lanes(words, a);
  std::memcpy(p, words, static_cast<size_t>(lanes) * sizeof(float));
}

// Contiguous values in memory, as many as fill a register with words.
template <typename T>
struct Values {
  static constexpr int64_t k = 1;  // values of k in a loaded word
  static Lanes load(const T* p) { return load_lanes(p); }
};
#if defined(RUBRICATE_TARGET_AVX2) || defined(RUBRICATE_TARGET_AVX512) || defined(RUBRICATE_TARGET_NEON)
template <>
struct Values<bf16> {  // a transpose keeps pairs together: half the shuffles
  static constexpr int64_t k = 2;
  static Lanes load(const bf16* p) { return load_bits(p); }
};
#endif

// Stores the words of a transposed register as words of the panel: unchanged, or pairs split in two.
template <typename Word, int64_t Loaded>
inline void put(float* out, [[maybe_unused]] int64_t width, Lanes a, [[maybe_unused]] int64_t k, int64_t lanes) {
  const auto store = [&](float* p, Lanes words) {
    if (lanes == kLanes)
      store_lanes(p, words);
    else
      store_some(p, words, lanes);
  };
  if constexpr (Loaded == Word::k) {
    store(out, a);
    return;
  }
#if defined(RUBRICATE_TARGET_AVX2) || defined(RUBRICATE_TARGET_AVX512) || defined(RUBRICATE_TARGET_NEON)
  store(out, low_bf16(a));
  if (k > 1) store(out + width, high_bf16(a));
#endif
}

// Many rows at the same time are too many streams for the hardware prefetcher.
constexpr int64_t kAhead = 256;     // bytes
constexpr int64_t kStoredRows = 8;  // of an operand stored [k, index] that are read over all panels at a time
// Prefetches beyond what is packed at a time: the start of the next panel's rows, and the next stored rows. On Zen 5 they
// make packing 10 % and 50 to 100 % faster; on AVX2 they were not measured.
#if defined(RUBRICATE_TARGET_AVX512)
constexpr bool kPrefetchesNext = true;
#else
constexpr bool kPrefetchesNext = false;
#endif

// p: value `at` of the k values of a row of a panel of `width`. Past the row's end comes the start of the row that has its
// place in the next panel.
template <int64_t width, typename T>
inline void prefetch_row(const T* p, int64_t stride, int64_t at, int64_t k) {
  const bool ends = kPrefetchesNext && (k - at) * int64_t{sizeof(T)} <= kAhead;
  __builtin_prefetch(reinterpret_cast<const char*>(ends ? p + width * stride - k : p) + kAhead);
}

// The `width` values of each of `rows` rows.
template <int64_t width, typename T>
inline void prefetch_rows(const T* data, int64_t stride, int64_t rows) {
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t byte = 0; byte < width * int64_t{sizeof(T)}; byte += 64)
      __builtin_prefetch(reinterpret_cast<const char*>(data + row * stride) + byte);
}

// Stored [index, k]: blocks of kLanes rows by kLanes words are transposed in registers. If width is not a multiple of
// kLanes, the store of a step reaches into the next step's words, which are stored after it.
template <typename Word, typename T, int64_t width>
inline void pack_rows(const T* data, int64_t stride, int64_t count, int64_t k, float* panel) {
  constexpr int64_t loaded = Values<T>::k, step = kLanes * loaded;
  for (int64_t i = 0; i < width; i += kLanes) {
    const int64_t rows = std::clamp<int64_t>(count - i, 0, std::min(kLanes, width - i));
    const int64_t lanes = std::min(kLanes, width - i);
    int64_t at = 0;
    for (; at + step + (lanes == kLanes ? 0 : 1) <= k; at += step) {
      Lanes r[kLanes];
#pragma GCC unroll 16
      for (int64_t row = 0; row < kLanes; ++row) {
        const T* p = data + (i + row) * stride + at;
        if (row < rows) prefetch_row<width>(p, stride, at, k);
        r[row] = row >= rows ? zero_lanes() : Values<T>::load(p);
      }
      transpose(r);
      float* out = panel + at / Word::k * width + i;
#pragma GCC unroll 16
      for (int64_t word = 0; word < kLanes; ++word)
        put<Word, loaded>(out + word * (loaded / Word::k) * width, width, r[word], loaded, kLanes);
    }
    for (; at < k; at += step) {
      const int64_t left = std::min(k - at, step);
      Lanes r[kLanes];
      for (int64_t row = 0; row < kLanes; ++row) {
        T values[step] = {};
        if (row < rows) std::memcpy(values, data + (i + row) * stride + at, static_cast<size_t>(left) * sizeof(T));
        r[row] = Values<T>::load(values);
      }
      transpose(r);
      float* out = panel + at / Word::k * width + i;
      for (int64_t word = 0; word * loaded < left; ++word)
        put<Word, loaded>(out + word * (loaded / Word::k) * width, width, r[word], left - word * loaded, lanes);
    }
  }
}

template <typename Word, typename T>
inline Lanes load_across(const T* row, int64_t, int64_t) {
  return load_lanes(row);
}
#if defined(RUBRICATE_TARGET_AVX512_BF16)
template <>
inline Lanes load_across<Pair, bf16>(const bf16* row, int64_t stride, int64_t left) {
  const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row)));
  if (left < 2) return _mm512_castsi512_ps(low);
  const __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + stride)));
  return _mm512_castsi512_ps(_mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
}
#endif

// Stored [k, index]: the words of a step are contiguous already. `row` and the row after it may be read in whole
// registers. exact: nothing may be written past the width.
template <typename Word, typename T, int64_t width>
inline void pack_step(const T* row, int64_t stride, int64_t left, bool exact, float* words) {
#pragma GCC unroll 4
  for (int64_t i = 0; i < width; i += kLanes) {
    const Lanes lanes = load_across<Word>(row + i, stride, left);
    if (i + kLanes <= width || !exact)
      store_lanes(words + i, lanes);
    else
      store_some(words + i, lanes, width - i);
  }
}

// ends: the panel has no more steps.
template <typename Word, typename T, int64_t width>
inline void pack_columns(const T* data, int64_t stride, int64_t count, int64_t k, bool ends, float* panel) {
  constexpr int64_t reach = (width + kLanes - 1) / kLanes * kLanes;
  const int64_t last = (k - 1) / Word::k * Word::k;
  if (count >= reach) {
    if constexpr (kPrefetchesNext) prefetch_rows<width>(data + kStoredRows * stride, stride, k);
    for (int64_t at = 0; at < last; at += Word::k, panel += width)
      pack_step<Word, T, width>(data + at * stride, stride, k - at, false, panel);
    pack_step<Word, T, width>(data + last * stride, stride, k - last, ends, panel);
    return;
  }
  for (int64_t at = 0; at < k; at += Word::k, panel += width) {  // whole loads would reach past the matrix
    T rows[2 * reach] = {};
    for (int64_t i = 0; i < std::min(Word::k, k - at); ++i)
      std::memcpy(rows + i * reach, data + (at + i) * stride, static_cast<size_t>(count) * sizeof(T));
    pack_step<Word, T, width>(rows, reach, k - at, ends && at == last, panel);
  }
}

template <typename Word, typename T, int64_t width>
inline void pack_as(const PanelSource& source, int64_t k, int64_t count, float* panels) {
  const T* data = static_cast<const T*>(source.data);
  const int64_t words = (k + Word::k - 1) / Word::k;
  if (source.k_contiguous) {
    for (int64_t i = 0; i < count; i += width)
      pack_rows<Word, T, width>(data + i * source.stride, source.stride, source.count - i, k, panels + i * words);
    return;
  }
  for (int64_t at = 0; at < k; at += kStoredRows)  // over all panels: every line is read once, in order
    for (int64_t i = 0; i < count; i += width)
      pack_columns<Word, T, width>(data + at * source.stride + i, source.stride, source.count - i,
                                   std::min(k - at, kStoredRows), at + kStoredRows >= k,
                                   panels + i * words + at / Word::k * width);
}

template <typename Word, typename T>
inline void pack_width(const PanelSource& source, int64_t k, int64_t count, int64_t width, float* panels) {
  if (width == kRows)
    pack_as<Word, T, kRows>(source, k, count, panels);
  else
    pack_as<Word, T, kCols>(source, k, count, panels);
}

inline void pack_panels(const PanelSource& source, int64_t k, int64_t count, int64_t width, float* panels) {
  switch (source.dtype) {
    case DType::f32:
      return pack_width<Single, float>(source, k, count, width, panels);
    case DType::bf16:
      return pack_width<Single, bf16>(source, k, count, width, panels);
    default:
      return pack_width<Single, f16>(source, k, count, width, panels);
  }
}

#if defined(RUBRICATE_TARGET_AVX512_BF16)
inline void pack_pair_panels(const PanelSource& source, int64_t k, int64_t count, int64_t width, float* panels) {
  pack_width<Pair, bf16>(source, k, count, width, panels);
}
#endif

// ---- the register tile ---------------------------------------------------------------------------------------------

// Whole: all columns belong to the matrix.
template <bool Whole, int Rows, int Vectors>
inline void begin_tile(Register (&sum)[Rows][Vectors], const TileArgs& t) {
#pragma GCC unroll 14
  for (int i = 0; i < Rows; ++i) {
    const float* from = t.from == nullptr ? nullptr : t.from + i * t.from_stride;
    float row[kRegister * Vectors] = {};
    if (!Whole && from != nullptr) {
      std::memcpy(row, from, static_cast<size_t>(t.cols) * sizeof(float));
      from = row;
    }
#pragma GCC unroll 8
    for (int j = 0; j < Vectors; ++j)
      sum[i][j] = from == nullptr ? zero_register() : load_register(from + kRegister * j);
  }
}

// Prefetches the lines that the tile will write while it computes.
template <int Rows, int Vectors>
inline void prefetch_result(const TileArgs& t) {
  const char* at = t.partial != nullptr ? reinterpret_cast<const char*>(t.partial) : static_cast<const char*>(t.c);
  const int64_t size = t.partial != nullptr ? 4 : dtype_size(t.c_dtype);
  const int64_t stride = (t.partial != nullptr ? t.partial_stride : t.c_stride) * size;
#pragma GCC unroll 14
  for (int i = 0; i < Rows; ++i) {
    __builtin_prefetch(at + i * stride, 1);
    __builtin_prefetch(at + i * stride + kRegister * Vectors * size - 1, 1);
  }
}

// Adds the bias and rounds, once.
template <typename T>
inline void finish_row(const float* sums, const TileArgs& t, int64_t row) {
  T* c = static_cast<T*>(t.c) + row * t.c_stride;
  for_lanes(t.cols, [&](int64_t i, auto mask) {
    const F32x16 sum = load(sums + i);
    store_masked(c + i, mask, t.bias == nullptr ? sum : add(sum, load_masked(t.bias + i, mask)));
  });
}

template <bool Whole, int Rows, int Vectors>
inline void end_tile(const Register (&sum)[Rows][Vectors], const TileArgs& t) {
#pragma GCC unroll 14
  for (int i = 0; i < Rows; ++i) {
    float row[(kRegister * Vectors + 15) / 16 * 16];
    float* out = Whole && t.partial != nullptr ? t.partial + i * t.partial_stride : row;
#pragma GCC unroll 8
    for (int j = 0; j < Vectors; ++j) store_register(out + kRegister * j, sum[i][j]);
    if (out != row) continue;
    if (t.partial != nullptr)
      std::memcpy(t.partial + i * t.partial_stride, row, static_cast<size_t>(t.cols) * sizeof(float));
    else if (t.c_dtype == DType::f32)
      finish_row<float>(row, t, i);
    else
      finish_row<bf16>(row, t, i);
  }
}

// Rows by Panels * kCols sums in registers, over all of the words.
template <typename Word, int Rows, int Panels, bool Whole>
inline void tile_of(const TileArgs& t) {
  constexpr int vectors = kVectors * Panels;
  Register sum[Rows][vectors];
  begin_tile<Whole>(sum, t);
  prefetch_result<Rows, vectors>(t);
  const float* a = t.a;
  const float* b[Panels];
  for (int p = 0; p < Panels; ++p) b[p] = t.b + p * t.words * kCols;
#pragma GCC unroll 4
  for (int64_t word = 0; word < t.words; ++word) {
    Register right[vectors];
#pragma GCC unroll 12
    for (int j = 0; j < vectors; ++j)
      right[j] = load_register(b[j / kVectors] + word * kCols + kRegister * (j % kVectors));
#pragma GCC unroll 14
    for (int i = 0; i < Rows; ++i) {
      const Register left = broadcast(a[word * kRows + i]);
#pragma GCC unroll 12
      for (int j = 0; j < vectors; ++j) sum[i][j] = Word::multiply_add(left, right[j], sum[i][j]);
    }
  }
  end_tile<Whole>(sum, t);
}

// The part of a strip that begins at column `col`, which is a multiple of a panel's width.
inline TileArgs from_column(const TileArgs& strip, int64_t col, int64_t cols) {
  TileArgs t = strip;
  t.b += col * t.words;
  t.cols = std::min(cols, strip.cols - col);
  if (t.from != nullptr) t.from += col;
  if (t.partial != nullptr) t.partial += col;
  t.c = static_cast<char*>(t.c) + col * dtype_size(t.c_dtype);
  if (t.bias != nullptr) t.bias += col;
  return t;
}

// A row of tiles, at most kRows high. Few rows take several panels at a time, so that there are enough independent sums
// to hide the latency of an addition.
template <typename Word, int Rows = kRows>
inline void tile_row(const TileArgs& t) {
  if constexpr (Rows > 1)
    if (t.rows < Rows) return tile_row<Word, Rows - 1>(t);
  constexpr int panels = Rows == 1 ? 4 : Rows == 2 ? 2 : 1;
  int64_t col = 0;
  if constexpr (panels > 1)
    for (; col + panels * kCols <= t.cols; col += panels * kCols)
      tile_of<Word, Rows, panels, true>(from_column(t, col, panels * kCols));
  for (; col + kCols <= t.cols; col += kCols) tile_of<Word, Rows, 1, true>(from_column(t, col, kCols));
  if (col < t.cols) tile_of<Word, Rows, 1, false>(from_column(t, col, kCols));
}

template <typename Word>
void strip(const TileArgs& whole) {
  TileArgs t = whole;
  for (int64_t row = 0; row < whole.rows; row += kRows) {
    t.rows = std::min<int64_t>(kRows, whole.rows - row);
    tile_row<Word>(t);
    t.a += t.words * kRows;
    if (t.from != nullptr) t.from += kRows * t.from_stride;
    if (t.partial != nullptr) t.partial += kRows * t.partial_stride;
    t.c = static_cast<char*>(t.c) + kRows * t.c_stride * dtype_size(t.c_dtype);
  }
}

// On AVX-512 a long slice is faster although a panel of A then fills the L1 cache or more: panels are read in order, so
// the L2 cache supplies them in time, while every slice costs a pass over C. On Zen 5, slices of 1,024 words were about
// 10 % faster than of 320 in fp32, and 5 % in bf16.
template <typename Word, typename Pack>
inline MatmulKernels kernels_of(Pack* pack) {
#if defined(RUBRICATE_TARGET_AVX512)
  constexpr int64_t depth = 1024, block_bytes = 384 << 10;  // with an L2 cache of 1 MiB or more
  constexpr bool grid_by_cost = true;
#else
  constexpr int64_t depth = 384, block_bytes = 192 << 10;  // a panel of A, 6 KiB, leaves room in L1 for the stream of B
  constexpr bool grid_by_cost = false;
#endif
  return {.mr = kRows,
          .nr = kCols,
          .k_per_word = Word::k,
          .depth = depth,
          .block_bytes = block_bytes,
          .grid_by_cost = grid_by_cost,
          .pack = pack,
          .strip = strip<Word>};
}

inline MatmulKernels matmul_kernels([[maybe_unused]] bool both_bf16) {
#if defined(RUBRICATE_TARGET_AVX512_BF16)
  if (both_bf16) return kernels_of<Pair>(pack_pair_panels);
#endif
  return kernels_of<Single>(pack_panels);
}

// ---- the gradient of a bias ----------------------------------------------------------------------------------------

template <typename T>
inline void column_sum_of(const ColumnSumArgs& args, int64_t begin, int64_t end) {
  const T* dy = static_cast<const T*>(args.dy);
  for_lanes(end - begin, [&](int64_t i, auto mask) {
    F32x16 sum = load_masked(args.sum + begin + i, mask);
    for (int64_t row = 0; row < args.rows; ++row) sum = add(sum, load_masked(dy + row * args.cols + begin + i, mask));
    store_masked(args.sum + begin + i, mask, sum);
  });
}

inline void column_sum(const ColumnSumArgs& args, int64_t begin, int64_t end) {
  if (args.dtype == DType::f32)
    column_sum_of<float>(args, begin, end);
  else
    column_sum_of<bf16>(args, begin, end);
}
