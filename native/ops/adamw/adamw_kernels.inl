static void adamw_range(const AdamWArgs& args, int64_t begin, int64_t end) {
  const F32x16 grad_scale = set1(args.grad_scale), decay = set1(-args.decay), target = set1(args.decay_target);
  const F32x16 mix = set1(args.one_minus_beta1), beta2 = set1(args.beta2), fresh = set1(args.one_minus_beta2);
  const F32x16 step = set1(-args.step_size), root = set1(args.root_correction), eps = set1(args.eps);
  for_lanes(end - begin, [&](int64_t offset, auto mask) {
    const int64_t i = begin + offset;
    F32x16 p = load_masked(args.parameters + i, mask);
    const F32x16 pull = args.decay_targets != nullptr ? load_masked(args.decay_targets + i, mask) : target;
    const F32x16 g = mul(load_masked(args.grad + i, mask), grad_scale);
    F32x16 m = load_masked(args.m + i, mask);
    F32x16 v = load_masked(args.v + i, mask);
    p = fma(decay, sub(p, pull), p);
    m = fma(mix, sub(g, m), m);
    v = fma(mul(fresh, g), g, mul(beta2, v));
    const F32x16 denominator = add(div(sqrt(v), root), eps);
    p = fma(step, div(m, denominator), p);
    store_masked(args.parameters + i, mask, p);
    store_masked(args.m + i, mask, m);
    store_masked(args.v + i, mask, v);
  });
}

// Squares of floats are exact in double, so all targets give the same bits.
static double square_sum(const float* values, int64_t count) {
  double sums[16] = {};
  int64_t i = 0;
  for (; i + 16 <= count; i += 16)
    for (int lane = 0; lane < 16; ++lane) {
      const auto x = static_cast<double>(values[i + lane]);
      sums[lane] += x * x;
    }
  for (int lane = 0; i + lane < count; ++lane) {
    const auto x = static_cast<double>(values[i + lane]);
    sums[lane] += x * x;
  }
  for (int width = 8; width > 0; width /= 2)
    for (int lane = 0; lane < width; ++lane) sums[lane] += sums[lane + width];
  return sums[0];
}

static void square_sum_blocks(const SquareSumArgs& args, int64_t begin, int64_t end) {
  for (int64_t block = begin; block < end; ++block)
    args.sums[block] =
        square_sum(args.values + block * kNormBlock, std::min(kNormBlock, args.count - block * kNormBlock));
}

template <typename T>
static void round_values(const RoundArgs& args, int64_t begin, int64_t end) {
  T* const weight = static_cast<T*>(args.weight) + begin;
  for_lanes(end - begin,
            [&](int64_t i, auto mask) { store_masked(weight + i, mask, load_masked(args.master + begin + i, mask)); });
}

static void round_range(const RoundArgs& args, int64_t begin, int64_t end) {
  if (args.dtype == DType::f32) return round_values<float>(args, begin, end);
  if (args.dtype == DType::bf16) return round_values<bf16>(args, begin, end);
  round_values<f16>(args, begin, end);
}
