// 1 where x is above `least`, otherwise 0; NaN stays NaN.
inline F32x16 step_above(F32x16 x, float least) {
  const F32x16 far = mul(mul(sub(x, set1(least)), set1(1e30f)), set1(1e30f));  // also of the smallest difference
  return min(set1(1.0f), max(zero(), far));
}

// So that inf does not become NaN; NaN stays NaN.
inline F32x16 limited_to(F32x16 x, float most) { return max(set1(-most), min(set1(most), x)); }
inline F32x16 tanh_exp(F32x16 x) { return exp(mul(set1(-2.0f), max(sub(zero(), x), x))); }

// (1 - e) / (1 + e) with the sign of x, e = e^(-2 |x|). Below |x| = 0.25, where 1 - e cancels, the series up to x^9: its next term is
// below 2^-26 of the value.
inline F32x16 tanh_value(F32x16 given) {
  const F32x16 x = limited_to(given, 9.0f), e = tanh_exp(x), square = mul(x, x);
  const F32x16 sign = sub(mul(set1(2.0f), step_above(x, 0.0f)), set1(1.0f));
  const F32x16 large = mul(sign, div(sub(set1(1.0f), e), add(set1(1.0f), e)));
  F32x16 p = set1(62.0f / 2835.0f);
  p = fma(p, square, set1(-17.0f / 315.0f));
  p = fma(p, square, set1(2.0f / 15.0f));
  p = fma(p, square, set1(-1.0f / 3.0f));
  const F32x16 small = fma(mul(x, square), p, x);
  const F32x16 is_large = step_above(square, 0.0625f);
  return fma(is_large, large, mul(sub(set1(1.0f), is_large), small));
}

// 1 - tanh(x)^2 = 4 e / (1 + e)^2, without cancellation.
inline F32x16 tanh_slope(F32x16 x) {
  const F32x16 e = tanh_exp(limited_to(x, 43.0f)), sum = add(set1(1.0f), e);
  return div(mul(set1(4.0f), e), mul(sum, sum));
}

template <typename T>
inline F32x16 elementwise_value(const ElementwiseArgs& args, F32x16 a, F32x16 b) {
  switch (args.op) {
    case Elementwise::add:
      return add(a, b);
    case Elementwise::multiply:
      return mul(a, b);
    case Elementwise::scale:
      return mul(a, set1(args.factor));
    case Elementwise::fill:
      return set1(args.factor);
    case Elementwise::silu:
      return mul(a, sigmoid(a));
    case Elementwise::silu_backward: {
      const F32x16 s = sigmoid(a);
      return mul(mul(b, s), fma(a, sub(set1(1.0f), s), set1(1.0f)));
    }
    case Elementwise::difference:
      return mul(set1(args.factor), sub(a, b));
    case Elementwise::relu:
      return max(zero(), a);
    case Elementwise::relu_backward:
      return mul(b, step_above(a, 0.0f));
    case Elementwise::tanh:
      return tanh_value(a);
    case Elementwise::tanh_backward:
      return mul(b, tanh_slope(a));
  }
  return a;
}

template <typename T>
void elementwise_typed(const ElementwiseArgs& args) {
  const T* a = static_cast<const T*>(args.a != nullptr ? args.a : args.out) + args.begin;
  const T* b = args.b != nullptr ? static_cast<const T*>(args.b) + args.begin : a;
  T* out = static_cast<T*>(args.out) + args.begin;
  const bool reads = args.op != Elementwise::fill;
  for_lanes(args.end - args.begin, [&](int64_t i, auto mask) {
    const F32x16 x = reads ? load_masked(a + i, mask) : zero();
    const F32x16 y = reads ? load_masked(b + i, mask) : zero();
    store_masked(out + i, mask, elementwise_value<T>(args, x, y));
  });
}

inline void elementwise(const ElementwiseArgs& args) {
  args.dtype == DType::bf16 ? elementwise_typed<bf16>(args) : elementwise_typed<float>(args);
}

template <typename From, typename To>
void cast_typed(const CastArgs& args) {
  const From* a = static_cast<const From*>(args.a) + args.begin;
  To* out = static_cast<To*>(args.out) + args.begin;
  for_lanes(args.end - args.begin,
            [&](int64_t i, auto mask) { store_masked(out + i, mask, load_masked(a + i, mask)); });
}

inline void cast_kernel(const CastArgs& args) {
  args.from == DType::bf16 ? cast_typed<bf16, float>(args) : cast_typed<float, bf16>(args);
}

template <typename T>
void row_sum_typed(const RowSumArgs& args) {
  for (int64_t r = args.begin; r < args.end; ++r) {
    const T* a = static_cast<const T*>(args.a) + r * args.cols;
    const T* b = args.b != nullptr ? static_cast<const T*>(args.b) + r * args.cols : nullptr;
    F32x16 sum = zero();
    for_lanes(args.cols, [&](int64_t i, auto mask) {
      F32x16 x = load_masked(a + i, mask);
      if (b != nullptr) {
        x = sub(x, load_masked(b + i, mask));
        x = mul(x, x);
      }
      sum = add(sum, x);
    });
    args.out[r] = reduce_add(sum);
  }
}

inline void row_sum(const RowSumArgs& args) {
  args.dtype == DType::bf16 ? row_sum_typed<bf16>(args) : row_sum_typed<float>(args);
}
