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
