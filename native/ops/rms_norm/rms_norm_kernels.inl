#include "ops/rms_norm/rms_row.inl"

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
