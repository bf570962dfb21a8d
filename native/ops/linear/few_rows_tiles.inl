// The kernel of few rows on the tiles of AMX: a tile of A holds 16 adjacent rows of the weight as they are stored, one of B
// holds x, and the sums come out as columns. The bits are those of the packed matmul (linear_tiles.inl): each factor of a
// product, and the order of the sums, are the same.
constexpr int64_t kBlock = tiles::kWords;  // words of k
constexpr int64_t kTileK = 2 * kBlock;     // values of k

inline bool uses_tiles(const MatmulArgs& g) {
  return cpu_path() == CpuPath::amx_bf16 && g.a_dtype == DType::bf16 && g.b_dtype == DType::bf16;
}
inline int64_t tile_blocks(int64_t k) { return (k + kTileK - 1) / kTileK; }

// x as [word of k][16 rows], padded with zeros.
inline void pack_x_tiles(const MatmulArgs& g, float* x) {
  for (int64_t at = 0; at < g.k; at += kTileK) {
    Lanes rows[kLanes];
#pragma GCC unroll 16
    for (int64_t i = 0; i < kLanes; ++i)
      rows[i] =
          i < g.m ? load_words<Pair>(static_cast<const bf16*>(g.a) + i * g.a_stride + at, g.k - at) : zero_lanes();
    transpose(rows);
#pragma GCC unroll 16
    for (int64_t word = 0; word < kLanes; ++word, x += kLanes) store_lanes(x, rows[word]);
  }
}

// Prefetches a line of each of 16 rows, `stride` bytes apart.
inline void prefetch_tile(const char* line, int64_t stride) {
#pragma GCC unroll 16
  for (int64_t i = 0; i < tiles::kRows; ++i) __builtin_prefetch(line + i * stride, 0, 2);
}

// Tile A: `left` values of k, fewer than a row of the tile, of 16 rows of the weight.
template <int A>
inline void load_rest(const bf16* w, int64_t stride, int64_t left) {
  alignas(64) bf16 rows[tiles::kRows][kTileK] = {};
  for (int64_t i = 0; i < tiles::kRows; ++i)
    std::memcpy(rows[i], w + i * stride, static_cast<size_t>(left) * sizeof(bf16));
  tiles::load<A>(rows, tiles::kRowBytes);
}

// Sum: [16 rows of the weight][16 rows of x]; stored as sums[row of x][kBlockCols].
template <int Sum>
inline void put_columns(int64_t rows, float* sums) {
  alignas(64) float part[tiles::kRows][tiles::kWords];
  tiles::store<Sum>(part, tiles::kRowBytes);
  Lanes columns[kLanes];
#pragma GCC unroll 16
  for (int64_t i = 0; i < kLanes; ++i) columns[i] = load_lanes(part[i]);
  transpose(columns);
  alignas(64) float by_row[kLanes][kLanes];
#pragma GCC unroll 16
  for (int64_t i = 0; i < kLanes; ++i) store_lanes(by_row[i], columns[i]);
  for (int64_t i = 0; i < rows; ++i) store_lanes(sums + i * kBlockCols, load_lanes(by_row[i]));
}

// Groups (1 or 2) of 16 rows of the weight, of all of k. While a tile is multiplied, the same place of the rows that come
// next is fetched: the rows of a weight are one stream of memory.
template <int Groups>
inline void tile_columns(const MatmulArgs& g, const bf16* w, const float* x, float* sums) {
  const int64_t stride = g.b_stride, bytes = 2 * stride, group = tiles::kRows * stride;
  tiles::clear<0>();
  if constexpr (Groups > 1) tiles::clear<1>();
  int64_t at = 0;
  for (; at + kTileK <= g.k; at += kTileK, x += kBlock * kLanes) {
    tiles::load<4>(x, tiles::kRowBytes);
    tiles::load<5>(w + at, bytes);
    prefetch_tile(reinterpret_cast<const char*>(w + at + Groups * group), bytes);
    tiles::multiply_add<0, 5, 4>();
    if constexpr (Groups > 1) {
      tiles::load<6>(w + group + at, bytes);
      prefetch_tile(reinterpret_cast<const char*>(w + at + (Groups + 1) * group), bytes);
      tiles::multiply_add<1, 6, 4>();
    }
  }
  if (at < g.k) {
    tiles::load<4>(x, tiles::kRowBytes);
    load_rest<5>(w + at, stride, g.k - at);
    tiles::multiply_add<0, 5, 4>();
    if constexpr (Groups > 1) {
      load_rest<6>(w + group + at, stride, g.k - at);
      tiles::multiply_add<1, 6, 4>();
    }
  }
  put_columns<0>(g.m, sums);
  if constexpr (Groups > 1) put_columns<1>(g.m, sums + tiles::kRows);
}

// Columns [col, col + cols), a multiple of 16.
inline void tile_block(const MatmulArgs& g, const float* x, int64_t col, int64_t cols, float* sums) {
  const tiles::TileScope scope;
  const bf16* w = static_cast<const bf16*>(g.b) + col * g.b_stride;
  int64_t j = 0;
  for (; j + 2 * tiles::kRows <= cols; j += 2 * tiles::kRows) tile_columns<2>(g, w + j * g.b_stride, x, sums + j);
  if (j < cols) tile_columns<1>(g, w + j * g.b_stride, x, sums + j);
}
