// One row of RMSNorm, for every kernel that contains it.

// 1 / sqrt(ss / cols + eps), ss being the sum of squares.
inline float inverse_rms(F32x16 squares, int64_t cols, float eps) {
  return 1.0f / std::sqrt(reduce_add(squares) / static_cast<float>(cols) + eps);
}

template <typename T>
inline F32x16 sum_of_squares(const T* x, int64_t cols) {
  F32x16 squares = zero();
  for_lanes(cols, [&](int64_t j, auto mask) {
    const F32x16 v = load_masked(x + j, mask);
    squares = fma(v, v, squares);
  });
  return squares;
}

template <typename T>
inline void rms_norm_row(const T* x, const float* weight, float inv, T* y, int64_t cols) {
  for_lanes(cols, [&](int64_t j, auto mask) {
    store_masked(y + j, mask, mul(mul(load_masked(x + j, mask), set1(inv)), load_masked(weight + j, mask)));
  });
}

// dx_j = r (w_j g_j - k x_j), k = r^2 / d * sum_i x_i w_i g_i: returns k.
template <typename T>
inline float rms_norm_row_factor(const T* x, const float* weight, float inv, const T* grad, int64_t cols) {
  F32x16 dot = zero();
  for_lanes(cols, [&](int64_t j, auto mask) {
    dot = fma(load_masked(x + j, mask), mul(load_masked(weight + j, mask), load_masked(grad + j, mask)), dot);
  });
  return inv * inv / static_cast<float>(cols) * reduce_add(dot);
}

inline F32x16 rms_norm_backward_lanes(F32x16 x, F32x16 weight, F32x16 grad, float inv, float factor) {
  return mul(set1(inv), fma(x, set1(-factor), mul(weight, grad)));
}
