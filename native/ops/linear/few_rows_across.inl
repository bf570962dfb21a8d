// The kernels of few rows whose lanes are rows of the weight: across(), and across_groups() for more rows of x.

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
