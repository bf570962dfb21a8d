template <typename T>
void swiglu_forward_typed(const SwigluArgs& args) {
  const T* gate = static_cast<const T*>(args.gate) + args.begin;
  const T* up = static_cast<const T*>(args.up) + args.begin;
  T* y = static_cast<T*>(args.y) + args.begin;
  for_lanes(args.end - args.begin, [&](int64_t i, auto mask) {
    const F32x16 x = load_masked(gate + i, mask);
    store_masked(y + i, mask, mul(mul(x, sigmoid(x)), load_masked(up + i, mask)));
  });
}

inline void swiglu_forward(const SwigluArgs& args) {
  args.dtype == DType::bf16 ? swiglu_forward_typed<bf16>(args) : swiglu_forward_typed<float>(args);
}

// s = sigmoid(gate);  dup = g gate s;  dgate = g up s (1 + gate (1 - s))
template <typename T>
void swiglu_backward_typed(const SwigluArgs& args) {
  const T* gate = static_cast<const T*>(args.gate) + args.begin;
  const T* up = static_cast<const T*>(args.up) + args.begin;
  const T* grad = static_cast<const T*>(args.grad) + args.begin;
  T* dgate = args.dgate != nullptr ? static_cast<T*>(args.dgate) + args.begin : nullptr;
  T* dup = args.dup != nullptr ? static_cast<T*>(args.dup) + args.begin : nullptr;
  for_lanes(args.end - args.begin, [&](int64_t i, auto mask) {
    const F32x16 x = load_masked(gate + i, mask);
    const F32x16 s = sigmoid(x);
    const F32x16 gs = mul(load_masked(grad + i, mask), s);
    if (dup != nullptr) store_masked(dup + i, mask, mul(gs, x));
    if (dgate != nullptr) {
      const F32x16 slope = fma(x, sub(set1(1.0f), s), set1(1.0f));
      store_masked(dgate + i, mask, mul(mul(gs, load_masked(up + i, mask)), slope));
    }
  });
}

inline void swiglu_backward(const SwigluArgs& args) {
  args.dtype == DType::bf16 ? swiglu_backward_typed<bf16>(args) : swiglu_backward_typed<float>(args);
}
