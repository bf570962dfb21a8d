#include "ops/cross_entropy/log_sum.inl"

static void log_sums(const LogSumArgs& args, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float* const z = args.logits + args.rows[i] * args.vocabulary;
    const float most = row_max(z, args.vocabulary);
    args.log_sums[i] = static_cast<double>(most) + std::log(sum_of_exps(z, args.vocabulary, most, nullptr));
  }
}
