// The packed matmul of bf16 on the tiles of AMX. A panel of A is [words / 16][32 rows][16 words], so that a tile is a
// contiguous KiB; a panel of B is [words][32 columns]. k is padded with zeros to whole blocks of 16 words.
//
// A step of an element's chain adds the sum of 32 values of k (tiles.h), always of the same 32, as slices begin at
// multiples of a block.
constexpr int64_t kTileRows = 2 * tiles::kRows, kTileCols = 2 * tiles::kWords;
constexpr int64_t kBlock = tiles::kWords;  // words of k
constexpr int64_t kTileFloats = tiles::kRows * tiles::kWords;

inline int64_t tile_words(int64_t k) { return (k + 2 * kBlock - 1) / (2 * kBlock) * kBlock; }

// ---- packing -------------------------------------------------------------------------------------------------------

// 16 words of a row, from p; `left` of the values exist.
inline Lanes row_words(const bf16* p, int64_t left) {
  if (left >= 2 * kBlock) return load_bits(p);
  bf16 values[2 * kBlock] = {};
  std::memcpy(values, p, static_cast<size_t>(left) * sizeof(bf16));
  return load_bits(values);
}

// A, stored [index, k]: words are copied.
inline void pack_tile_rows(const bf16* data, int64_t stride, int64_t count, int64_t k, float* panel) {
  for (int64_t row = 0; row < kTileRows; ++row) {
    float* out = panel + row * kBlock;
    for (int64_t at = 0; at < k; at += 2 * kBlock, out += kTileRows * kBlock)
      store_lanes(out, row < count ? row_words(data + row * stride + at, k - at) : zero_lanes());
  }
}

// The pairs of two stored rows at 16 indices; `count` of these exist, and `left` of the rows.
inline Lanes pairs_across(const bf16* row, int64_t stride, int64_t count, int64_t left) {
  if (count >= kLanes) return load_across<Pair, bf16>(row, stride, left);
  bf16 rows[2][kLanes] = {};
  for (int64_t i = 0; i < std::min<int64_t>(left, 2); ++i)
    std::memcpy(rows[i], row + i * stride, static_cast<size_t>(count) * sizeof(bf16));
  return load_across<Pair, bf16>(rows[0], kLanes, 2);
}

// A, stored [k, index]: the words of 16 indices are transposed.
inline void pack_tile_columns(const bf16* data, int64_t stride, int64_t count, int64_t k, float* panel) {
  for (int64_t at = 0; at < k; at += 2 * kBlock)
    for (int64_t index = 0; index < kTileRows; index += tiles::kRows, panel += kTileFloats) {
      Lanes words[kLanes];
#pragma GCC unroll 16
      for (int64_t i = 0; i < kLanes; ++i) {
        const int64_t left = k - at - 2 * i;
        words[i] = left <= 0 || index >= count
                       ? zero_lanes()
                       : pairs_across(data + (at + 2 * i) * stride + index, stride, count - index, left);
      }
      transpose(words);
#pragma GCC unroll 16
      for (int64_t i = 0; i < kLanes; ++i) store_lanes(panel + i * kBlock, words[i]);
    }
}

inline void pack_tiles_a(const PanelSource& source, int64_t k, int64_t count, float* panels) {
  const bf16* data = static_cast<const bf16*>(source.data);
  for (int64_t i = 0; i < count; i += kTileRows, panels += kTileRows * tile_words(k))
    if (source.k_contiguous)
      pack_tile_rows(data + i * source.stride, source.stride, source.count - i, k, panels);
    else
      pack_tile_columns(data + i, source.stride, source.count - i, k, panels);
}

inline void pack_tiles_b(const PanelSource& source, int64_t k, int64_t count, float* panels) {
  pack_as<Pair, bf16, kTileCols>(source, k, count, tile_words(k), panels);
}

// ---- the sums ------------------------------------------------------------------------------------------------------

// Tiles 0 to 3 hold 32 by 32 sums: row by row of tiles. 4 and 5 hold A, 6 and 7 B.

// Starts tile `Sum`, whose first sum is at [row, col].
template <int Sum>
inline void begin_sums(const TileArgs& t, int64_t row, int64_t col) {
  const int64_t rows = std::min(tiles::kRows, t.rows - row), cols = std::min(tiles::kWords, t.cols - col);
  if (t.from == nullptr || rows <= 0 || cols <= 0) return tiles::clear<Sum>();
  const float* from = t.from + row * t.from_stride + col;
  if (rows == tiles::kRows && cols == tiles::kWords) return tiles::load<Sum>(from, t.from_stride * 4);
  alignas(64) float part[tiles::kRows][tiles::kWords] = {};
  for (int64_t i = 0; i < rows; ++i)
    std::memcpy(part[i], from + i * t.from_stride, static_cast<size_t>(cols) * sizeof(float));
  tiles::load<Sum>(part, tiles::kRowBytes);
}

// Adds the bias to 32 by 32 sums, and rounds them, once.
template <typename T>
inline void finish_whole(const TileArgs& t) {
  alignas(64) float sums[kTileRows][kTileCols];
  tiles::store<0>(&sums[0][0], 4 * kTileCols);
  tiles::store<1>(&sums[0][tiles::kWords], 4 * kTileCols);
  tiles::store<2>(&sums[tiles::kRows][0], 4 * kTileCols);
  tiles::store<3>(&sums[tiles::kRows][tiles::kWords], 4 * kTileCols);
  T* c = static_cast<T*>(t.c);
  if (t.bias == nullptr) {
#pragma GCC unroll 4
    for (int64_t i = 0; i < kTileRows; ++i, c += t.c_stride) {
      store(c, load(sums[i]));
      store(c + 16, load(sums[i] + 16));
    }
    return;
  }
  const F32x16 left = load(t.bias), right = load(t.bias + 16);
#pragma GCC unroll 4
  for (int64_t i = 0; i < kTileRows; ++i, c += t.c_stride) {
    store(c, add(load(sums[i]), left));
    store(c + 16, add(load(sums[i] + 16), right));
  }
}

// Stores the sums of `rows` by `cols`, or finishes them.
inline void end_sums(const TileArgs& t) {
  const bool plain = t.c_dtype == DType::f32 && t.bias == nullptr;
  float* out = t.partial != nullptr ? t.partial : plain ? static_cast<float*>(t.c) : nullptr;
  const int64_t out_stride = t.partial != nullptr ? t.partial_stride : t.c_stride;
  if (out != nullptr && t.rows == kTileRows && t.cols == kTileCols) {
    const auto place = [&](int64_t row, int64_t col) { return out + row * out_stride + col; };
    tiles::store<0>(place(0, 0), 4 * out_stride);
    tiles::store<1>(place(0, tiles::kWords), 4 * out_stride);
    tiles::store<2>(place(tiles::kRows, 0), 4 * out_stride);
    tiles::store<3>(place(tiles::kRows, tiles::kWords), 4 * out_stride);
    return;
  }
  if (t.partial == nullptr && t.rows == kTileRows && t.cols == kTileCols)
    return t.c_dtype == DType::f32 ? finish_whole<float>(t) : finish_whole<bf16>(t);
  alignas(64) float sums[kTileRows][kTileCols];
  tiles::store<0>(&sums[0][0], 4 * kTileCols);
  tiles::store<1>(&sums[0][tiles::kWords], 4 * kTileCols);
  if (t.rows > tiles::kRows) {
    tiles::store<2>(&sums[tiles::kRows][0], 4 * kTileCols);
    tiles::store<3>(&sums[tiles::kRows][tiles::kWords], 4 * kTileCols);
  }
  for (int64_t i = 0; i < t.rows; ++i) {
    if (t.partial != nullptr)
      std::memcpy(t.partial + i * t.partial_stride, sums[i], static_cast<size_t>(t.cols) * sizeof(float));
    else if (t.c_dtype == DType::f32)
      finish_row<float>(sums[i], t, i);
    else
      finish_row<bf16>(sums[i], t, i);
  }
}

// 32 by 32 sums, or 16 by 32 if there are no more rows.
template <bool Both>
inline void tile_sums(const TileArgs& t) {
  begin_sums<0>(t, 0, 0);
  begin_sums<1>(t, 0, tiles::kWords);
  if constexpr (Both) {
    begin_sums<2>(t, tiles::kRows, 0);
    begin_sums<3>(t, tiles::kRows, tiles::kWords);
  }
  const float *a = t.a, *b = t.b;
  for (int64_t word = 0; word < t.words; word += kBlock, a += kTileRows * kBlock, b += kTileCols * kBlock) {
    tiles::load<4>(a, tiles::kRowBytes);
    tiles::load<6>(b, 4 * kTileCols);
    tiles::load<7>(b + tiles::kWords, 4 * kTileCols);
    tiles::multiply_add<0, 4, 6>();
    tiles::multiply_add<1, 4, 7>();
    if constexpr (Both) {
      tiles::load<5>(a + kTileFloats, tiles::kRowBytes);
      tiles::multiply_add<2, 5, 6>();
      tiles::multiply_add<3, 5, 7>();
    }
  }
  end_sums(t);
}

inline void tile_strip(const TileArgs& whole) {
  const tiles::TileScope scope;
  TileArgs t = whole;
  for (int64_t row = 0; row < whole.rows; row += kTileRows) {
    t.rows = std::min(kTileRows, whole.rows - row);
    for (int64_t col = 0; col < whole.cols; col += kTileCols) {
      const TileArgs part = from_column(t, col, kTileCols);
      if (t.rows > tiles::kRows)
        tile_sums<true>(part);
      else
        tile_sums<false>(part);
    }
    t.a += t.words * kTileRows;
    if (t.from != nullptr) t.from += kTileRows * t.from_stride;
    if (t.partial != nullptr) t.partial += kTileRows * t.partial_stride;
    t.c = static_cast<char*>(t.c) + kTileRows * t.c_stride * dtype_size(t.c_dtype);
  }
}

// Processors with tiles have a second-level cache of 2 MiB. On Emerald Rapids, strips of 288 KiB were 5 to 10 % slower.
inline MatmulKernels tile_kernels() {
  return {.mr = kTileRows,
          .nr = kTileCols,
          .k_per_word = 2,
          .word_block = kBlock,
          .depth = 1024,
          .sums_per_cycle = 256.0,
          .strip_bytes = 768 << 10,
          .block_bytes = 768 << 10,
          .grid_by_cost = true,
          .pack_a = pack_tiles_a,
          .pack_b = pack_tiles_b,
          .strip = tile_strip};
}
