// fma(scale, h, bias) of 16 columns from `j` on; null stands for 1 and 0.
template <typename Mask>
inline F32x16 edit_lanes(F32x16 h, const float* scale, const float* bias, int64_t j, Mask mask) {
  if (scale == nullptr) return bias == nullptr ? h : add(h, load_masked(bias + j, mask));
  const F32x16 s = load_masked(scale + j, mask);
  return bias == nullptr ? mul(s, h) : fma(s, h, load_masked(bias + j, mask));
}
