template <typename T>
void layer_norm_forward_row(const LayerNormArgs& args, int64_t t) {
  const int64_t cols = args.cols;
  const T* x = static_cast<const T*>(args.x) + t * cols;
  T* y = static_cast<T*>(args.y) + t * cols;
  F32x16 total = zero();
  for_lanes(cols, [&](int64_t j, auto mask) { total = add(total, load_masked(x + j, mask)); });
  const float mean = reduce_add(total) / static_cast<float>(cols);
  F32x16 squares = zero();
  for_lanes(cols, [&](int64_t j, auto mask) {
    const F32x16 centred = select(mask, sub(load_masked(x + j, mask), set1(mean)), zero());
    squares = fma(centred, centred, squares);
  });
  const float inv = 1.0f / std::sqrt(reduce_add(squares) / static_cast<float>(cols) + args.eps);
  if (args.mean != nullptr) args.mean[t] = mean;
  if (args.inv != nullptr) args.inv[t] = inv;
  for_lanes(cols, [&](int64_t j, auto mask) {
    const F32x16 n = mul(sub(load_masked(x + j, mask), set1(mean)), set1(inv));
    const F32x16 w = load_masked(args.weight + j, mask);
    store_masked(y + j, mask, args.bias != nullptr ? fma(n, w, load_masked(args.bias + j, mask)) : mul(n, w));
  });
}

// dx = r (w g - mean(w g) - n mean(w g n))
template <typename T>
void layer_norm_backward_row(const LayerNormArgs& args, int64_t t) {
  const int64_t cols = args.cols;
  const T* x = static_cast<const T*>(args.x) + t * cols;
  const T* grad = static_cast<const T*>(args.grad) + t * cols;
  T* dx = static_cast<T*>(args.dx) + t * cols;
  const F32x16 mean = set1(args.mean[t]), inv = set1(args.inv[t]);
  F32x16 plain = zero(), products = zero();
  for_lanes(cols, [&](int64_t j, auto mask) {  // masked lanes have w g = 0
    const F32x16 wg = mul(load_masked(args.weight + j, mask), load_masked(grad + j, mask));
    plain = add(plain, wg);
    products = fma(wg, mul(sub(load_masked(x + j, mask), mean), inv), products);
  });
  const F32x16 a = set1(reduce_add(plain) / static_cast<float>(cols));
  const F32x16 b = set1(-reduce_add(products) / static_cast<float>(cols));
  for_lanes(cols, [&](int64_t j, auto mask) {
    const F32x16 wg = mul(load_masked(args.weight + j, mask), load_masked(grad + j, mask));
    const F32x16 n = mul(sub(load_masked(x + j, mask), mean), inv);
    store_masked(dx + j, mask, mul(inv, fma(n, b, sub(wg, a))));
  });
}

template <typename T>
void layer_norm_rows(const LayerNormArgs& args, const void* from, void* to,
                     void (*row)(const LayerNormArgs&, int64_t)) {
  if (args.weight == nullptr) {
    const int64_t bytes = args.cols * static_cast<int64_t>(sizeof(T));
    std::memcpy(static_cast<char*>(to) + args.begin * bytes, static_cast<const char*>(from) + args.begin * bytes,
                static_cast<size_t>((args.end - args.begin) * bytes));
    return;
  }
  for (int64_t t = args.begin; t < args.end; ++t) row(args, t);
}

inline void layer_norm_forward(const LayerNormArgs& args) {
  args.dtype == DType::bf16 ? layer_norm_rows<bf16>(args, args.x, args.y, layer_norm_forward_row<bf16>)
                            : layer_norm_rows<float>(args, args.x, args.y, layer_norm_forward_row<float>);
}

inline void layer_norm_backward(const LayerNormArgs& args) {
  args.dtype == DType::bf16 ? layer_norm_rows<bf16>(args, args.grad, args.dx, layer_norm_backward_row<bf16>)
                            : layer_norm_rows<float>(args, args.grad, args.dx, layer_norm_backward_row<float>);
}
