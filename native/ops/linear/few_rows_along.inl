// The kernel of few rows whose lanes are rows of x.

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
