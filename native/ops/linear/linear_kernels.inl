// The register tile of the matmul, and the gradient of a bias, for one instruction set.
#include "ops/linear/linear_pack.inl"

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
template <typename Word>
inline MatmulKernels kernels_of(decltype(MatmulKernels::pack_a) pack_a, decltype(MatmulKernels::pack_b) pack_b) {
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
          .strip_bytes = 288 << 10,
          .block_bytes = block_bytes,
          .grid_by_cost = grid_by_cost,
          .pack_a = pack_a,
          .pack_b = pack_b,
          .strip = strip<Word>};
}

#if defined(RUBRICATE_TARGET_AVX512_BF16)
#include "ops/linear/linear_tiles.inl"
#endif

inline MatmulKernels matmul_kernels([[maybe_unused]] bool both_bf16) {
#if defined(RUBRICATE_TARGET_AVX512_BF16)
  if (both_bf16 && cpu_path() == CpuPath::amx_bf16) return tile_kernels();
  if (both_bf16) return kernels_of<Pair>(pack_whole<Pair, bf16, kRows>, pack_whole<Pair, bf16, kCols>);
#endif
  return kernels_of<Single>(pack_panels<kRows>, pack_panels<kCols>);
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
