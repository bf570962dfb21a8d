// Q(a) = Phi(-a) = e^(-a^2 / 2) P(w) for a >= 0, w = (a / 2) / (1 + a / 4): P is a minimax fit of degree 9 to
// erfcx(a / sqrt(2)) / 2 over a in [0, 14], with an absolute error of a Q(a) below 1e-10. Beyond, Q is 0 in fp32 up to
// 1e-44. gaussian: e^(-a^2 / 2).
inline F32x16 gelu_tail(F32x16 a, F32x16 gaussian) {
  const F32x16 w = div(mul(set1(0.5f), a), fma(set1(0.25f), a, set1(1.0f)));
  F32x16 p = set1(-6.427163944e-05f);
  p = fma(p, w, set1(4.356551784e-04f));
  p = fma(p, w, set1(-4.504134496e-04f));
  p = fma(p, w, set1(-3.090782792e-03f));
  p = fma(p, w, set1(3.213520464e-03f));
  p = fma(p, w, set1(5.451339543e-02f));
  p = fma(p, w, set1(-2.633197969e-01f));
  p = fma(p, w, set1(6.010579066e-01f));
  p = fma(p, w, set1(-7.978845661e-01f));
  p = fma(p, w, set1(0.5f));
  return mul(p, gaussian);
}

// Both limit x to where the result has long reached its asymptote, so that nothing overflows; NaN stays NaN.
inline F32x16 gelu_limited(F32x16 x, float most) { return max(set1(-most), min(set1(most), x)); }
inline F32x16 gelu_gaussian(F32x16 a) { return exp(mul(set1(-0.5f), mul(a, a))); }

// x Phi(x) = max(0, x) - |x| Q(|x|)
inline F32x16 gelu_exact(F32x16 x) {
  const F32x16 limited = gelu_limited(x, 15.0f), a = max(sub(zero(), limited), limited);
  return sub(max(zero(), x), mul(a, gelu_tail(a, gelu_gaussian(a))));
}

// Phi(x) + x phi(x). Phi is Q for x < 0 and 1 - Q for x > 0; between them, at |x| < 1e-30, both are 1 / 2.
inline F32x16 gelu_exact_slope(F32x16 x) {
  const F32x16 limited = gelu_limited(x, 15.0f), a = max(sub(zero(), limited), limited);
  const F32x16 gaussian = gelu_gaussian(a), q = gelu_tail(a, gaussian);
  const F32x16 positive = min(set1(1.0f), max(zero(), mul(limited, set1(1e30f))));
  const F32x16 phi = fma(positive, sub(set1(1.0f), add(q, q)), q);
  return fma(mul(limited, set1(0.3989422804f)), gaussian, phi);
}

// 2 u = x (b + c x^2)
constexpr float kGeluTwice = 1.5957691216f;     // 2 sqrt(2 / pi)
constexpr float kGeluCubic = 0.0713548162726f;  // that times 0.044715
inline F32x16 gelu_twice_u(F32x16 x) { return mul(x, fma(mul(x, x), set1(kGeluCubic), set1(kGeluTwice))); }

inline F32x16 gelu_tanh(F32x16 x) { return mul(x, sigmoid(gelu_twice_u(gelu_limited(x, 15.0f)))); }

// s + x s (1 - s) (2 u)'; 1 - s = e^(-2u) s without cancellation.
inline F32x16 gelu_tanh_slope(F32x16 x) {
  const F32x16 limited = gelu_limited(x, 9.0f);
  const F32x16 e = exp(sub(zero(), gelu_twice_u(limited)));
  const F32x16 s = div(set1(1.0f), add(set1(1.0f), e));
  const F32x16 slope = fma(mul(limited, limited), set1(3.0f * kGeluCubic), set1(kGeluTwice));
  return fma(mul(limited, slope), mul(s, mul(e, s)), s);
}

template <typename T, typename Value>
void gelu_forward_typed(const GeluArgs& args, const Value& value) {
  const T* x = static_cast<const T*>(args.x) + args.begin;
  T* y = static_cast<T*>(args.y) + args.begin;
  for_lanes(args.end - args.begin,
            [&](int64_t i, auto mask) { store_masked(y + i, mask, value(load_masked(x + i, mask))); });
}

template <typename T, typename Slope>
void gelu_backward_typed(const GeluArgs& args, const Slope& slope) {
  const T* x = static_cast<const T*>(args.x) + args.begin;
  const T* grad = static_cast<const T*>(args.grad) + args.begin;
  T* dx = static_cast<T*>(args.dx) + args.begin;
  for_lanes(args.end - args.begin, [&](int64_t i, auto mask) {
    store_masked(dx + i, mask, mul(load_masked(grad + i, mask), slope(load_masked(x + i, mask))));
  });
}

inline void gelu_forward(const GeluArgs& args) {
  const auto run = [&](const auto& value) {
    args.dtype == DType::bf16 ? gelu_forward_typed<bf16>(args, value) : gelu_forward_typed<float>(args, value);
  };
  if (args.kind == GeluKind::exact) return run([](F32x16 x) { return gelu_exact(x); });
  run([](F32x16 x) { return gelu_tanh(x); });
}

inline void gelu_backward(const GeluArgs& args) {
  const auto run = [&](const auto& slope) {
    args.dtype == DType::bf16 ? gelu_backward_typed<bf16>(args, slope) : gelu_backward_typed<float>(args, slope);
  };
  if (args.kind == GeluKind::exact) return run([](F32x16 x) { return gelu_exact_slope(x); });
  run([](F32x16 x) { return gelu_tanh_slope(x); });
}
