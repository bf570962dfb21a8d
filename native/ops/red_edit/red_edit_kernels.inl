// fma(scale, h, bias) of 16 columns from `j` on; null means 1 and 0.
template <typename Mask>
inline F32x16 edit_lanes(F32x16 h, const float* scale, const float* bias, int64_t j, Mask mask) {
  if (scale == nullptr) return bias == nullptr ? h : add(h, load_masked(bias + j, mask));
  const F32x16 s = load_masked(scale + j, mask);
  return bias == nullptr ? mul(s, h) : fma(s, h, load_masked(bias + j, mask));
}

template <typename T>
void red_edit_rows_typed(const EditRowsArgs& args) {
  for (int64_t t = args.begin; t < args.end; ++t) {
    const T* h = static_cast<const T*>(args.h) + t * args.cols;
    T* y = static_cast<T*>(args.y) + t * args.cols;
    for_lanes(args.cols, [&](int64_t j, auto mask) {
      store_masked(y + j, mask, edit_lanes(load_masked(h + j, mask), args.scale, args.bias, j, mask));
    });
  }
}

inline void red_edit_rows(const EditRowsArgs& args) {
  args.dtype == DType::bf16 ? red_edit_rows_typed<bf16>(args) : red_edit_rows_typed<float>(args);
}
