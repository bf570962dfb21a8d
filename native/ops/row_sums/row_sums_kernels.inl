// One step of 16 columns: the accumulators stay in registers for all rows.
template <typename T, typename Mask>
inline void row_sums_step(const RowSumsArgs& args, int64_t j, Mask mask) {
  F32x16 products = args.first || args.products == nullptr ? zero() : load_masked(args.products + j, mask);
  F32x16 plain = args.first || args.plain == nullptr ? zero() : load_masked(args.plain + j, mask);
  for (int64_t t = args.row_begin; t < args.row_end; ++t) {
    const F32x16 g = load_masked(static_cast<const T*>(args.grad) + t * args.cols + j, mask);
    plain = add(plain, g);
    if (args.products == nullptr) continue;
    F32x16 v = load_masked(static_cast<const T*>(args.x) + t * args.cols + j, mask);
    if (args.mean != nullptr) v = sub(v, set1(args.mean[t]));
    if (args.inv != nullptr) v = mul(v, set1(args.inv[t]));
    products = fma(g, v, products);
  }
  if (args.products != nullptr) store_masked(args.products + j, mask, products);
  if (args.plain != nullptr) store_masked(args.plain + j, mask, plain);
}

template <typename T>
void row_sums_typed(const RowSumsArgs& args) {
  for_lanes(args.col_end - args.col_begin,
            [&](int64_t i, auto mask) { row_sums_step<T>(args, args.col_begin + i, mask); });
}

inline void row_sums(const RowSumsArgs& args) {
  args.dtype == DType::bf16 ? row_sums_typed<bf16>(args) : row_sums_typed<float>(args);
}

inline void add_columns(float* sum, const float* more, int64_t begin, int64_t end) {
  for_lanes(end - begin, [&](int64_t i, auto mask) {
    float* p = sum + begin + i;
    store_masked(p, mask, add(load_masked(p, mask), load_masked(more + begin + i, mask)));
  });
}
