// y1 = x1 c - x2 s,  y2 = x2 c + x1 s  for the two rotated parts of every head of a row; the rest is copied; see rope.h.

// 16 components of one head, or fewer if `lanes` masks some. sign: 1, or -1 for the opposite angle.
template <bool kWhole, typename X, typename Y>
inline void rotate(const X* x, Y* y, const float* cos, const float* sin, int64_t half, F32x16 sign, Mask16 lanes) {
  const auto get = [&](const auto* p) {
    if constexpr (kWhole)
      return load(p);
    else
      return load_masked(p, lanes);
  };
  const auto put = [&](Y* p, F32x16 value) {
    if constexpr (kWhole)
      store(p, value);
    else
      store_masked(p, lanes, value);
  };
  const F32x16 c = get(cos), s = mul(sign, get(sin));
  const F32x16 x1 = get(x), x2 = get(x + half);
  put(y, fma(x1, c, mul(x2, sub(zero(), s))));
  put(y + half, fma(x2, c, mul(x1, s)));
}

template <typename X, typename Y>
inline void copy_components(const X* x, Y* y, int64_t count) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) store(y + i, load(x + i));
  if (i < count) {
    const Mask16 rest = first_lanes(count - i);
    store_masked(y + i, rest, load_masked(x + i, rest));
  }
}

template <typename X, typename Y>
void rotate_rows(const RopeArgs& args, int64_t begin, int64_t end) {
  const int64_t half = args.half, whole = half / 16 * 16;
  const F32x16 sign = set1(args.backward ? -1.0f : 1.0f);
  const Mask16 rest = first_lanes(half - whole);
  for (int64_t row = begin; row < end; ++row) {
    const float* cos = args.cos + args.positions[row] * half;
    const float* sin = args.sin + args.positions[row] * half;
    for (int64_t head = 0; head < args.heads; ++head) {
      const int64_t first = (row * args.heads + head) * args.head_dim;
      const X* x = static_cast<const X*>(args.x) + first;
      Y* y = static_cast<Y*>(args.y) + first;
      for (int64_t i = 0; i < whole; i += 16) rotate<true>(x + i, y + i, cos + i, sin + i, half, sign, rest);
      if (whole < half) rotate<false>(x + whole, y + whole, cos + whole, sin + whole, half, sign, rest);
      copy_components(x + 2 * half, y + 2 * half, args.head_dim - 2 * half);
    }
  }
}

template <typename X>
void rotate_from(const RopeArgs& args, int64_t begin, int64_t end) {
  args.y_dtype == DType::bf16 ? rotate_rows<X, bf16>(args, begin, end) : rotate_rows<X, float>(args, begin, end);
}

void rope_rows(const RopeArgs& args, int64_t begin, int64_t end) {
  args.x_dtype == DType::bf16 ? rotate_from<bf16>(args, begin, end) : rotate_from<float>(args, begin, end);
}
