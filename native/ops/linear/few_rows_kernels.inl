// The skinny matmul: few rows of x by the rows of a weight, for one instruction set. A word: as in linear_words.inl.
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
// The kernel for NEON has the same structure and was not tuned. The tiles of AMX have a kernel of their own: on Emerald
// Rapids, on one core, about 90 % of a plain read with one to sixteen rows.
#if defined(RUBRICATE_TARGET_AVX2) || defined(RUBRICATE_TARGET_AVX512) || defined(RUBRICATE_TARGET_NEON)
#include "ops/linear/few_rows_words.inl"

#include "ops/linear/few_rows_across.inl"
#include "ops/linear/few_rows_along.inl"
#if defined(RUBRICATE_TARGET_AVX512_BF16)
#include "ops/linear/few_rows_tiles.inl"
#else
inline bool uses_tiles(const MatmulArgs&) { return false; }
#endif

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
    if (uses_tiles(g)) {
#if defined(RUBRICATE_TARGET_AVX512_BF16)
      tile_block(g, x, first_col, cols, sums);
#endif
    } else if (padded_groups(g) > 0) {
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
inline int64_t few_rows_streams(const MatmulArgs& g) {
  if (uses_tiles(g)) return kLanes;
  return lanes_across(g) ? 2 * kLanes : g.m <= kLanes ? 8 : 4;
}
inline int64_t few_rows_block() { return kBlockCols; }

// Words of x, packed.
inline int64_t few_rows_words(const MatmulArgs& g) {
#if defined(RUBRICATE_TARGET_AVX512_BF16)
  if (uses_tiles(g)) return tile_blocks(g.k) * kBlock * kLanes;
#endif
  return std::max(g.m, row_groups(g).places * std::max<int64_t>(padded_groups(g), 1)) *
         (pairs(g) ? (g.k + 1) / 2 : g.k);
}

inline void few_rows_pack(const MatmulArgs& g, float* x) {
#if defined(RUBRICATE_TARGET_AVX512_BF16)
  if (uses_tiles(g)) return pack_x_tiles(g, x);
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
