// Packing and the register tile of the matmul, for one instruction set.
#include "ops/linear/linear_transpose.inl"

// ---- pack_panel: the only code that knows how an operand is stored -------------------------------------------------

// The bytes of the values that are there; zeros for the rest.
template <typename Word, typename T>
inline Lanes load_part(const T* p, int64_t count) {
  alignas(64) T values[kLanes * Word::k] = {};
  std::memcpy(values, p, static_cast<size_t>(count) * sizeof(T));
  return Word::load(values);
}

// Stored [index, k]: blocks of kLanes rows by kLanes words are transposed in registers. A width that is no multiple of
// kLanes writes on into the next step's words, which then overwrite that.
template <typename Word, typename T>
inline void pack_rows(const T* data, int64_t stride, int64_t count, int64_t k, int64_t width, float* panel) {
  constexpr int64_t step = kLanes * Word::k;
  for (int64_t i = 0; i < width; i += kLanes) {
    const int64_t rows = std::clamp<int64_t>(count - i, 0, std::min(kLanes, width - i));
    for (int64_t at = 0; at < k; at += step) {
      const int64_t left = std::min(k - at, step);
      Lanes r[kLanes];
#pragma GCC unroll 16
      for (int64_t row = 0; row < kLanes; ++row) {
        const T* p = data + (i + row) * stride + at;
        r[row] = row >= rows ? zero_lanes() : left == step ? Word::load(p) : load_part<Word>(p, left);
      }
      transpose(r);
      float* out = panel + at / Word::k * width + i;
      if (left == step) {
#pragma GCC unroll 16
        for (int64_t word = 0; word < kLanes; ++word) store_lanes(out + word * width, r[word]);
      } else {
        for (int64_t word = 0; word * Word::k < left; ++word) store_lanes(out + word * width, r[word]);
      }
    }
  }
}

// Stored [k, index]: the words of a step lie side by side already.
template <typename Word, typename T>
inline void pack_columns(const T* data, int64_t stride, int64_t count, int64_t k, int64_t width, float* panel) {
  for (int64_t at = 0; at < k; at += Word::k, panel += width) {
    const T* row = data + at * stride;
    for (int64_t i = 0; i < width; i += kLanes) {
      const int64_t there = std::clamp<int64_t>(count - i, 0, kLanes);
      store_lanes(panel + i, Word::load_across(row + i, stride, there, k - at));
    }
  }
}

template <typename Word, typename T>
inline void pack_as(const PanelSource& source, int64_t k, int64_t width, float* panel) {
  const T* data = static_cast<const T*>(source.data);
  if (source.k_contiguous)
    pack_rows<Word>(data, source.stride, source.count, k, width, panel);
  else
    pack_columns<Word>(data, source.stride, source.count, k, width, panel);
}

// A word of fp32: one value.
struct Single {
  static constexpr int64_t k = 1;
  template <typename T>
  static Lanes load(const T* p) {
    return load_lanes(p);
  }
  template <typename T>
  static Lanes load_across(const T* row, int64_t, int64_t count, int64_t) {
    return count == kLanes ? load_lanes(row) : load_part<Single>(row, count);
  }
  static F32x16 multiply_add(F32x16 a, F32x16 b, F32x16 c) { return fma(a, b, c); }
};

inline void pack_panel(const PanelSource& source, int64_t k, int64_t width, float* panel) {
  switch (source.dtype) {
    case DType::f32:
      return pack_as<Single, float>(source, k, width, panel);
    case DType::bf16:
      return pack_as<Single, bf16>(source, k, width, panel);
    default:
      return pack_as<Single, f16>(source, k, width, panel);
  }
}

#if defined(RUBRICATE_TARGET_AVX512_BF16)
// A word of bf16: the values of two consecutive k, the lower k in the lower half; a missing last one is zero.
struct Pair {
  static constexpr int64_t k = 2;
  static Lanes load(const bf16* p) { return _mm512_castsi512_ps(_mm512_loadu_si512(p)); }
  static __m512i across(const bf16* row, int64_t count) {
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first_lanes(count).bits, row));
  }
  static Lanes load_across(const bf16* row, int64_t stride, int64_t count, int64_t left) {
    const __m512i low = across(row, count);
    if (left < 2) return _mm512_castsi512_ps(low);
    return _mm512_castsi512_ps(_mm512_or_si512(low, _mm512_slli_epi32(across(row + stride, count), 16)));
  }
  static F32x16 multiply_add(F32x16 a, F32x16 b, F32x16 c) {
    return {_mm512_dpbf16_ps(c.v, (__m512bh)a.v, (__m512bh)b.v)};
  }
};

inline void pack_pair_panel(const PanelSource& source, int64_t k, int64_t width, float* panel) {
  pack_as<Pair, bf16>(source, k, width, panel);
}
#endif

// ---- the register tile ---------------------------------------------------------------------------------------------

#if defined(RUBRICATE_TARGET_AVX512)
constexpr int kRows = 14, kVectors = 2;  // 28 of 32 registers hold sums
#elif defined(RUBRICATE_TARGET_AVX2)
constexpr int kRows = 6, kVectors = 1;  // 12 of 16
#else
constexpr int kRows = 2, kVectors = 1;
#endif

template <int Rows, typename T>
inline void finish(const F32x16 (&sum)[Rows][kVectors], const TileArgs& t) {
  for (int j = 0; j < kVectors; ++j) {
    const Mask16 mask = first_lanes(std::clamp<int64_t>(t.cols - 16 * j, 0, 16));
    const bool full = t.cols >= 16 * (j + 1);
    const F32x16 bias = t.bias == nullptr ? zero() : load_masked(t.bias + 16 * j, mask);
    for (int i = 0; i < Rows; ++i) {
      T* c = static_cast<T*>(t.c) + i * t.c_stride + 16 * j;
      const F32x16 value = t.bias == nullptr ? sum[i][j] : add(sum[i][j], bias);
      if (full)
        store(c, value);
      else
        store_masked(c, mask, value);
    }
  }
}

template <typename Word, int Rows>
void tile_of(const TileArgs& t) {
  F32x16 sum[Rows][kVectors];
  const bool full = t.cols == 16 * kVectors;
  Mask16 mask[kVectors];
  for (int j = 0; j < kVectors; ++j) mask[j] = first_lanes(std::clamp<int64_t>(t.cols - 16 * j, 0, 16));
  for (int i = 0; i < Rows; ++i)
    for (int j = 0; j < kVectors; ++j) {
      const float* from = t.from + i * t.from_stride + 16 * j;
      sum[i][j] = t.from == nullptr ? zero() : full ? load(from) : load_masked(from, mask[j]);
    }
  const float *a = t.a, *b = t.b;
  for (int64_t word = 0; word < t.words; ++word, a += kRows, b += 16 * kVectors) {
    F32x16 right[kVectors];
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) right[j] = load(b + 16 * j);
#pragma GCC unroll 14
    for (int i = 0; i < Rows; ++i) {
      const F32x16 left = set1(a[i]);
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) sum[i][j] = Word::multiply_add(left, right[j], sum[i][j]);
    }
  }
  if (t.partial != nullptr) {
    for (int i = 0; i < Rows; ++i)
      for (int j = 0; j < kVectors; ++j) {
        float* partial = t.partial + i * t.partial_stride + 16 * j;
        if (full)
          store(partial, sum[i][j]);
        else
          store_masked(partial, mask[j], sum[i][j]);
      }
  } else if (t.c_dtype == DType::f32) {
    finish<Rows, float>(sum, t);
  } else {
    finish<Rows, bf16>(sum, t);
  }
}

template <typename Word, int Rows = kRows>
void tile(const TileArgs& t) {
  if constexpr (Rows > 1)
    if (t.rows < Rows) return tile<Word, Rows - 1>(t);
  tile_of<Word, Rows>(t);
}

inline MatmulKernels matmul_kernels([[maybe_unused]] bool both_bf16) {
#if defined(RUBRICATE_TARGET_AVX512_BF16)
  if (both_bf16) return {kRows, 16 * kVectors, Pair::k, pack_pair_panel, tile<Pair>};
#endif
  return {kRows, 16 * kVectors, Single::k, pack_panel, tile<Single>};
}

// ---- the gradient of a bias ----------------------------------------------------------------------------------------

template <typename T>
inline void column_sum_of(const ColumnSumArgs& args, int64_t begin, int64_t end) {
  const T* dy = static_cast<const T*>(args.dy);
  for_lanes(end - begin, [&](int64_t i, Mask16 mask) {
    F32x16 sum = load_masked(args.sum + begin + i, mask);
    for (int64_t row = 0; row < args.rows; ++row)
      sum = add(sum, load_masked(dy + row * args.cols + begin + i, mask));
    store_masked(args.sum + begin + i, mask, sum);
  });
}

inline void column_sum(const ColumnSumArgs& args, int64_t begin, int64_t end) {
  if (args.dtype == DType::f32)
    column_sum_of<float>(args, begin, end);
  else
    column_sum_of<bf16>(args, begin, end);
}
