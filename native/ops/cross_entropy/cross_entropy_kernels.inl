#include "ops/cross_entropy/log_sum.inl"

// exps times factor, in place or (bf16) in the first half of the same memory: each write is at or before the last read.
template <typename T>
static void scale_exps(float* exps, int64_t n, float factor) {
  T* const out = reinterpret_cast<T*>(exps);
  for_lanes(n,
            [&](int64_t i, auto mask) { store_masked(out + i, mask, mul(load_masked(exps + i, mask), set1(factor))); });
}

static void one_row(const RowLossArgs& args, int64_t row) {
  const int64_t n = args.vocabulary;
  const float* const z = args.logits + row * n;
  const int32_t target = args.targets[row];
  const float target_logit = z[target];
  const float most = row_max(z, n);
  if (args.correct != nullptr) args.correct[row] = target_logit == most && std::find(z, z + target, most) == z + target;

  float* const exps = args.dz == nullptr ? nullptr : args.dz + row * n;
  const double sum = sum_of_exps(z, n, most, exps);
  args.loss[row] = (static_cast<double>(most) + std::log(sum)) - static_cast<double>(target_logit);
  if (exps == nullptr) return;

  const double weight = static_cast<double>(args.weights[row]);
  const auto at_target = static_cast<float>(weight * (static_cast<double>(exps[target]) / sum - 1.0));
  const auto factor = static_cast<float>(weight / sum);
  if (args.dz_dtype == DType::f32) {
    scale_exps<float>(exps, n, factor);
    exps[target] = at_target;
  } else {
    scale_exps<bf16>(exps, n, factor);
    reinterpret_cast<bf16*>(exps)[target] = from_float<bf16>(at_target);
  }
}

static void row_losses(const RowLossArgs& args, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) one_row(args, row);
}

template <typename T>
static void scale_values(void* values, float factor, int64_t begin, int64_t end) {
  T* const p = static_cast<T*>(values) + begin;
  for_lanes(end - begin,
            [&](int64_t i, auto mask) { store_masked(p + i, mask, mul(load_masked(p + i, mask), set1(factor))); });
}

static void scale_range(const ScaleArgs& args, int64_t begin, int64_t end) {
  if (args.dtype == DType::f32)
    scale_values<float>(args.values, args.factor, begin, end);
  else
    scale_values<bf16>(args.values, args.factor, begin, end);
}
