// Register tiles, and the packing of rows into fp32.

constexpr int kTileRows = 6;  // with 16 columns: 12 of AVX2's 16 registers, 24 of NEON's 32

// Number of 16-column vectors that a tile of R rows keeps in registers.
template <int R>
constexpr int tile_vectors() {
#ifdef RUBRICATE_TARGET_AVX512
  return 4;
#else
  return R == 1 ? 4 : R == 2 ? 2 : 1;
#endif
}

// A matrix of fp32 or bf16 in panels of 16 columns: element (i, 16 j + l) is at data[i * row + j * panel + l]. Packed
// panels are contiguous (row = 16), so that a tile reads memory in one stream; rows at large strides would miss the
// cache.
template <typename T>
struct Panels {
  const T* data;
  int64_t row, panel;
};

// c[R, 16 V] (+)= a[R, depth] b[depth, 16 V]; with kTransposed a is stored [depth, R].
template <int R, int V, bool kTransposed, bool kAdd, typename T>
inline void multiply_tile(const float* a, int64_t lda, Panels<T> b, int64_t depth, float* c, int64_t ldc) {
  F32x16 sum[R][V];  // the pragmas unroll early enough for GCC to keep the sums in registers throughout
#pragma GCC unroll 6
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < V; ++j) sum[i][j] = kAdd ? load(c + i * ldc + 16 * j) : zero();
  for (int64_t k = 0; k < depth; ++k) {
    F32x16 row[V];
#pragma GCC unroll 4
    for (int j = 0; j < V; ++j) row[j] = load(b.data + k * b.row + j * b.panel);
#pragma GCC unroll 6
    for (int i = 0; i < R; ++i) {
      const F32x16 x = set1(kTransposed ? a[k * lda + i] : a[i * lda + k]);
#pragma GCC unroll 4
      for (int j = 0; j < V; ++j) sum[i][j] = fma(x, row[j], sum[i][j]);
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < V; ++j) store(c + i * ldc + 16 * j, sum[i][j]);
}

template <int R, bool kTransposed, bool kAdd, typename T>
inline void multiply_rows(const float* a, int64_t lda, Panels<T> b, int64_t depth, float* c, int64_t ldc,
                          int64_t vectors) {
  constexpr int V = tile_vectors<R>();
  for (; vectors >= V; vectors -= V, b.data += V * b.panel, c += 16 * V)
    multiply_tile<R, V, kTransposed, kAdd>(a, lda, b, depth, c, ldc);
  if constexpr (V == 4 && R > 1)  // one vector has too few chains of additions
    for (; vectors >= 2; vectors -= 2, b.data += 2 * b.panel, c += 32)
      multiply_tile<R, 2, kTransposed, kAdd>(a, lda, b, depth, c, ldc);
  for (; vectors > 0; --vectors, b.data += b.panel, c += 16)
    multiply_tile<R, 1, kTransposed, kAdd>(a, lda, b, depth, c, ldc);
}

// c[rows, 16 vectors] (+)= a[rows, depth] b[depth, 16 vectors].
template <bool kTransposed, bool kAdd, typename T>
void multiply(int64_t rows, const float* a, int64_t lda, Panels<T> b, int64_t depth, float* c, int64_t ldc,
              int64_t vectors) {
  for (; rows > 0; rows -= kTileRows, a += kTransposed ? kTileRows : kTileRows * lda, c += kTileRows * ldc) {
    switch (rows) {
      case 1:
        multiply_rows<1, kTransposed, kAdd>(a, lda, b, depth, c, ldc, vectors);
        break;
      case 2:
        multiply_rows<2, kTransposed, kAdd>(a, lda, b, depth, c, ldc, vectors);
        break;
      case 3:
        multiply_rows<3, kTransposed, kAdd>(a, lda, b, depth, c, ldc, vectors);
        break;
      case 4:
        multiply_rows<4, kTransposed, kAdd>(a, lda, b, depth, c, ldc, vectors);
        break;
      case 5:
        multiply_rows<5, kTransposed, kAdd>(a, lda, b, depth, c, ldc, vectors);
        break;
      default:
        multiply_rows<6, kTransposed, kAdd>(a, lda, b, depth, c, ldc, vectors);
    }
  }
}

// Rows of one head are far apart, which the hardware prefetcher does not follow.
constexpr int64_t kRowsAhead = 8;
template <typename T>
inline void prefetch_row(const T* x, int64_t n) {
  for (int64_t i = 0; i < n; i += 64 / static_cast<int64_t>(sizeof(T))) __builtin_prefetch(x + i);
}

// One row of n elements as fp32; out is padded with zeros to a multiple of 16.
template <typename T>
inline void widen_row(const T* x, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(out + i, load(x + i));
  if (i < n) store(out + i, load_masked(x + i, first_lanes(n - i)));
}

// y = x / divisor, rounded once.
template <typename T>
inline void narrow_row(const float* x, float divisor, int64_t n, T* y) {
  const F32x16 divisors = set1(divisor);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(y + i, div(load(x + i), divisors));
  if (i < n) store_masked(y + i, first_lanes(n - i), div(load(x + i), divisors));
}

struct Rows {
  const float* data;
  int64_t stride;
};

// `count` rows of head_dim elements as fp32 [count, stride], readable up to a multiple of 16 columns: the rows
// themselves if they have that form, otherwise a copy in `room`.
template <typename T>
inline Rows widen_rows(const T* x, int64_t stride, int64_t count, int64_t head_dim, int64_t padded, float* room) {
  if constexpr (std::is_same_v<T, float>) {
    if (head_dim == padded) return {x, stride};
  }
  for (int64_t i = 0; i < count; ++i) {
    prefetch_row(x + (i + kRowsAhead) * stride, head_dim);
    widen_row(x + i * stride, head_dim, room + i * padded);
  }
  return {room, padded};
}

#if defined(RUBRICATE_TARGET_AVX2) || defined(RUBRICATE_TARGET_AVX512)
inline void transpose_8x8(const float* x, int64_t stride, float* out, int64_t out_stride) {
  __m256 r[8], t[8];
  for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(x + i * stride);
  for (int i = 0; i < 4; ++i) {
    t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 2; ++i) {
    r[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
    r[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
    r[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
    r[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    _mm256_storeu_ps(out + i * out_stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
    _mm256_storeu_ps(out + (i + 4) * out_stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
  }
}
#elif defined(RUBRICATE_TARGET_NEON)
inline void transpose_8x8(const float* x, int64_t stride, float* out, int64_t out_stride) {
  for (int i = 0; i < 8; i += 4)
    for (int j = 0; j < 8; j += 4) {
      float32x4_t r[4];
      for (int row = 0; row < 4; ++row) r[row] = vld1q_f32(x + (i + row) * stride + j);
      transpose_4x4(r);
      for (int row = 0; row < 4; ++row) vst1q_f32(out + (j + row) * out_stride + i, r[row]);
    }
}
#else
inline void transpose_8x8(const float* x, int64_t stride, float* out, int64_t out_stride) {
  for (int i = 0; i < 8; ++i)
    for (int j = 0; j < 8; ++j) out[i * out_stride + j] = x[j * stride + i];
}
#endif

// Panels of `count` rows, columns up to a multiple of 16.
template <typename T>
inline Panels<float> pack_rows(const T* x, int64_t stride, int64_t count, int64_t head_dim, float* out) {
  for (int64_t i = 0; i < count; ++i, x += stride) {
    prefetch_row(x + kRowsAhead * stride, head_dim);
    float* to = out + 16 * i;
    int64_t d = 0;
    for (; d + 16 <= head_dim; d += 16, to += 16 * kKeyBlock) store(to, load(x + d));
    if (d < head_dim) store(to, load_masked(x + d, first_lanes(head_dim - d)));
  }
  return {out, 16, 16 * kKeyBlock};
}

// Panels of the transpose [head_dim, kKeyBlock] of `count` rows, with zeros for missing rows: the layout of keys in a
// page.
inline Panels<float> pack_transposed(Rows x, int64_t count, int64_t head_dim, float* out) {
  const int64_t whole_rows = count / 8 * 8, whole_cols = head_dim / 8 * 8, panel = 16 * head_dim;
  for (int64_t j = 0; j < whole_rows; j += 8)
    for (int64_t i = 0; i < whole_cols; i += 8)
      transpose_8x8(x.data + j * x.stride + i, x.stride, out + j / 16 * panel + 16 * i + j % 16, 16);
  for (int64_t i = 0; i < head_dim; ++i)
    for (int64_t j = i < whole_cols ? whole_rows : 0; j < kKeyBlock; ++j)
      out[j / 16 * panel + 16 * i + j % 16] = j < count ? x.data[j * x.stride + i] : 0.0f;
  return {out, 16, panel};
}
