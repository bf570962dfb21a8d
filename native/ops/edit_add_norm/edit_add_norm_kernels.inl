#include "ops/red_edit/red_edit_kernels.inl"
#include "ops/rms_norm/rms_norm_kernels.inl"

// residual + edit of the row that begins at element `row`, rounded into `sum`; calls `use` with each vector of the sum.
template <typename T, typename Use>
inline void edited_sum_row(const EditAddNormArgs& args, int64_t row, T* sum, const Use& use) {
  const T* h = static_cast<const T*>(args.h) + row;
  const T* residual = static_cast<const T*>(args.residual) + row;
  for_lanes(args.cols, [&](int64_t j, auto mask) {
    const F32x16 e = edit_lanes(load_masked(h + j, mask), args.scale, args.bias, j, mask);
    use(store_rounded(sum + j, mask, add(load_masked(residual + j, mask), e)));
  });
}

template <typename T>
void edit_add_norm_forward_typed(const EditAddNormArgs& args) {
  for (int64_t t = args.begin; t < args.end; ++t) {
    const int64_t row = t * args.cols;
    T* sum = static_cast<T*>(args.sum) + row;
    F32x16 squares = zero();
    edited_sum_row(args, row, sum, [&](const F32x16& s) { squares = fma(s, s, squares); });
    if (args.weight == nullptr) continue;
    const float inv = inverse_rms(squares, args.cols, args.eps);
    if (args.inv != nullptr) args.inv[t] = inv;
    rms_norm_row(sum, args.weight, inv, static_cast<T*>(args.normed) + row, args.cols);
  }
}

inline void edit_add_norm_forward(const EditAddNormArgs& args) {
  args.dtype == DType::bf16 ? edit_add_norm_forward_typed<bf16>(args) : edit_add_norm_forward_typed<float>(args);
}

template <typename T>
void edit_add_norm_backward_typed(const EditAddNormBackwardArgs& args, const EditAddNormArgs* recompute_sum) {
  for (int64_t t = args.begin; t < args.end; ++t) {
    const int64_t row = t * args.cols;
    const T* grad_sum = args.grad_sum != nullptr ? static_cast<const T*>(args.grad_sum) + row : nullptr;
    T* dh = args.dh != nullptr ? static_cast<T*>(args.dh) + row : nullptr;
    if (args.grad_normed == nullptr) {  // g is grad_sum itself
      for_lanes(args.cols, [&](int64_t j, auto mask) {
        store_masked(dh + j, mask, edit_lanes(load_masked(grad_sum + j, mask), args.scale, nullptr, j, mask));
      });
      continue;
    }
    T* g = static_cast<T*>(args.g) + row;
    if (recompute_sum != nullptr)
      edited_sum_row(*recompute_sum, row, g, [](const F32x16&) {});  // each vector is read before its g is written
    const T* sum = recompute_sum != nullptr ? g : static_cast<const T*>(args.sum) + row;
    const T* grad_normed = static_cast<const T*>(args.grad_normed) + row;
    const float inv = args.inv[t];
    const float factor = rms_norm_row_factor(sum, args.weight, inv, grad_normed, args.cols);
    for_lanes(args.cols, [&](int64_t j, auto mask) {
      F32x16 v = rms_norm_backward_lanes(load_masked(sum + j, mask), load_masked(args.weight + j, mask),
                                         load_masked(grad_normed + j, mask), inv, factor);
      if (grad_sum != nullptr) v = add(load_masked(grad_sum + j, mask), v);
      v = store_rounded(g + j, mask, v);
      if (dh != nullptr) store_masked(dh + j, mask, edit_lanes(v, args.scale, nullptr, j, mask));
    });
  }
}

inline void edit_add_norm_backward(const EditAddNormBackwardArgs& args, const EditAddNormArgs* recompute_sum) {
  args.dtype == DType::bf16 ? edit_add_norm_backward_typed<bf16>(args, recompute_sum)
                            : edit_add_norm_backward_typed<float>(args, recompute_sum);
}
