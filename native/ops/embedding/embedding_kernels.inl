template <typename W, typename T>
void embedding_forward_typed(const EmbeddingArgs& args) {
  const int64_t cols = args.weight.cols;
  for (int64_t t = args.begin; t < args.end; ++t) {
    const W* row = static_cast<const W*>(args.weight.row(args.tokens[t]));
    T* y = static_cast<T*>(args.y) + t * cols;
    for_lanes(cols, [&](int64_t i, auto mask) { store_masked(y + i, mask, load_masked(row + i, mask)); });
  }
}

template <typename W>
void embedding_forward_from(const EmbeddingArgs& args) {
  args.dtype == DType::bf16 ? embedding_forward_typed<W, bf16>(args) : embedding_forward_typed<W, float>(args);
}

inline void embedding_forward(const EmbeddingArgs& args) {
  switch (args.weight.dtype) {
    case DType::bf16:
      return embedding_forward_from<bf16>(args);
    case DType::f16:
      return embedding_forward_from<f16>(args);
    default:
      return embedding_forward_from<float>(args);
  }
}

template <typename T>
void embedding_backward_typed(const EmbeddingGradArgs& args) {
  for (int64_t t = 0; t < args.count; ++t) {
    if (args.tokens[t] % args.parts != args.part) continue;
    const T* grad = static_cast<const T*>(args.grad) + t * args.cols;
    float* sum = args.dweight + args.tokens[t] * args.cols;
    for_lanes(args.cols, [&](int64_t i, auto mask) {
      store_masked(sum + i, mask, add(load_masked(sum + i, mask), load_masked(grad + i, mask)));
    });
  }
}

inline void embedding_backward(const EmbeddingGradArgs& args) {
  args.dtype == DType::bf16 ? embedding_backward_typed<bf16>(args) : embedding_backward_typed<float>(args);
}
