// Packing into panels, for one instruction set: the only code that knows how an operand is stored.
#include "ops/linear/linear_transpose.inl"
#include "ops/linear/linear_words.inl"

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

// words: of a panel, at least as many as hold k; the others become zero.
template <typename Word, typename T, int64_t width>
inline void pack_as(const PanelSource& source, int64_t k, int64_t count, int64_t words, float* panels) {
  const T* data = static_cast<const T*>(source.data);
  for (int64_t i = 0, used = (k + Word::k - 1) / Word::k; used < words && i < count; i += width)
    std::fill(panels + i * words + used * width, panels + (i + width) * words, 0.0f);
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

template <typename Word, typename T, int64_t width>
inline void pack_whole(const PanelSource& source, int64_t k, int64_t count, float* panels) {
  pack_as<Word, T, width>(source, k, count, (k + Word::k - 1) / Word::k, panels);
}

template <int64_t width>
inline void pack_panels(const PanelSource& source, int64_t k, int64_t count, float* panels) {
  switch (source.dtype) {
    case DType::f32:
      return pack_whole<Single, float, width>(source, k, count, panels);
    case DType::bf16:
      return pack_whole<Single, bf16, width>(source, k, count, panels);
    default:
      return pack_whole<Single, f16, width>(source, k, count, panels);
  }
}
