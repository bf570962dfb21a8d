// The first functions compute one row of RMSNorm; kernels that contain it use them too (edit_add_norm).

// 1 / sqrt(ss / cols + eps); ss is the sum of squares.
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

template <typename T>
void rms_norm_forward_typed(const RmsNormArgs& args) {
  for (int64_t t = args.begin; t < args.end; ++t) {
    const T* x = static_cast<const T*>(args.x) + t * args.cols;
    const float inv = inverse_rms(sum_of_squares(x, args.cols), args.cols, args.eps);
    if (args.inv != nullptr) args.inv[t] = inv;
    rms_norm_row(x, args.weight, inv, static_cast<T*>(args.y) + t * args.cols, args.cols);
  }
}

inline void rms_norm_forward(const RmsNormArgs& args) {
  args.dtype == DType::bf16 ? rms_norm_forward_typed<bf16>(args) : rms_norm_forward_typed<float>(args);
}

template <typename T>
void rms_norm_backward_typed(const RmsNormArgs& args) {
  for (int64_t t = args.begin; t < args.end; ++t) {
    const T* x = static_cast<const T*>(args.x) + t * args.cols;
    const T* grad = static_cast<const T*>(args.grad) + t * args.cols;
    T* dx = static_cast<T*>(args.dx) + t * args.cols;
    const float inv = args.inv[t];
    const float factor = rms_norm_row_factor(x, args.weight, inv, grad, args.cols);
    for_lanes(args.cols, [&](int64_t j, auto mask) {
      store_masked(dx + j, mask,
                   rms_norm_backward_lanes(load_masked(x + j, mask), load_masked(args.weight + j, mask),
                                           load_masked(grad + j, mask), inv, factor));
    });
  }
}

inline void rms_norm_backward(const RmsNormArgs& args) {
  args.dtype == DType::bf16 ? rms_norm_backward_typed<bf16>(args) : rms_norm_backward_typed<float>(args);
}
