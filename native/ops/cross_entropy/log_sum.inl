// One row at a time in 16 lanes, then a tree over the lanes; sums of exponentials are added to a double every 2,048
// elements.

static float row_max(const float* z, int64_t n) {
  const F32x16 lowest = set1(-std::numeric_limits<float>::infinity());
  F32x16 most = lowest;
  for_lanes(n, [&](int64_t i, auto mask) { most = max(most, select(mask, load_masked(z + i, mask), lowest)); });
  return reduce_max(most);
}

// sum of e^(z - most); stores the exponentials in `exps` unless it is null (it may be z).
static double sum_of_exps(const float* z, int64_t n, float most, float* exps) {
  constexpr int64_t kBlock = 2048;
  double total = 0.0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    F32x16 sum = zero();
    for_lanes(std::min(kBlock, n - begin), [&](int64_t i, auto mask) {
      const F32x16 e = select(mask, exp(sub(load_masked(z + begin + i, mask), set1(most))), zero());
      sum = add(sum, e);
      if (exps != nullptr) store_masked(exps + begin + i, mask, e);
    });
    total += static_cast<double>(reduce_add(sum));
  }
  return total;
}
