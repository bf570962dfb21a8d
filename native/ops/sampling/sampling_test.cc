#include "ops/sampling/sampling.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "ops/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

const std::vector<float> kLogits = {2.0f, -1.0f, 0.5f, 2.0f, 3.25f, -0.25f, 0.0f, 1.5f, -3.0f, 1.25f};
const std::vector<int32_t> kHistory = {4, 1, 4};

SamplingOptions options(float temperature, int32_t top_k = 0, float top_p = 1.0f, float min_p = 0.0f,
                        float penalty = 1.0f) {
  return {temperature, top_k, top_p, min_p, penalty, 0};
}

std::vector<double> distribution(const std::vector<float>& logits, const SamplingOptions& o,
                                 const std::vector<int32_t>& history = {}) {
  return sampling_distribution(logits.data(), static_cast<int64_t>(logits.size()), o, history);
}

int32_t sample(const std::vector<float>& logits, const SamplingOptions& o, uint64_t position = 0,
               const std::vector<int32_t>& history = {}) {
  return sample_token(logits.data(), static_cast<int64_t>(logits.size()), o, history, position);
}

}  // namespace

TEST_CASE("probabilities as transformers' logits processors give them") {
  struct Case {
    SamplingOptions options;
    Doubles expected;  // transformers 5.18, softmax of the processed scores of kLogits with kHistory
  };
  const Case cases[] = {
      {options(1.0f),
       {0.141051087, 0.00702252013, 0.0314727517, 0.141051087, 0.49231667, 0.0148666752, 0.0190891889, 0.0855518091,
        0.000950394751, 0.0666278159}},
      {options(0.7f),
       {0.110798561, 0.00152500761, 0.0129987941, 0.110798561, 0.660784612, 0.00445233196, 0.00636345112, 0.0542405039,
        8.75851961e-05, 0.037950593}},
      {options(1.0f, 3), {0.182137984, 0, 0, 0.182137984, 0.635724031, 0, 0, 0, 0, 0}},
      {options(1.0f, 0, 0.8f), {0.164018489, 0, 0, 0.164018489, 0.572480779, 0, 0, 0.0994822425, 0, 0}},
      {options(1.5f, 0, 1.0f, 0.2f), {0.17780819, 0, 0, 0.17780819, 0.409132376, 0, 0, 0.127405131, 0, 0.107846113}},
      {options(1.0f, 0, 1.0f, 0.0f, 1.25f),
       {0.184829468, 0.00716661622, 0.0412410289, 0.184829468, 0.336781217, 0.0194808827, 0.0250139485, 0.112104739,
        0.00124537116, 0.0873072589}},
      {options(0.8f, 6, 0.75f, 0.1f, 1.25f), {0.242895341, 0, 0, 0.242895341, 0.514209318, 0, 0, 0, 0, 0}},
  };
  for (const Case& c : cases) check_close(distribution(kLogits, c.options, kHistory), c.expected, 2e-6, 1e-12);
}

TEST_CASE("a temperature of 0 takes the largest logit, the lowest id of equal ones, after the penalty") {
  CHECK(sample(kLogits, options(0.0f)) == 4);
  CHECK(sample({1.0f, 3.0f, 3.0f}, options(0.0f)) == 1);
  CHECK(sample({-kInfinity, -5.0f}, options(0.0f)) == 1);
  CHECK(sample({2.0f, 3.0f}, options(0.0f, 0, 1.0f, 0.0f, 2.0f), 0, {1, 1}) == 0);
  CHECK(sample({-2.0f, -1.5f}, options(0.0f, 0, 1.0f, 0.0f, 2.0f), 0, {1}) == 0);
  CHECK(distribution(kLogits, options(0.0f))[4] == 1.0);
}

TEST_CASE("top-k keeps ties with the k-th, top-p prefers the lower id of equal ones and keeps at least one") {
  const std::vector<float> equal(5, 1.0f);
  CHECK(distribution(equal, options(1.0f, 2))[4] == doctest::Approx(0.2));
  CHECK(distribution({2.0f, 1.0f, 1.0f, 0.0f}, options(1.0f, 2))[2] > 0.0);
  CHECK(distribution({2.0f, 1.0f, 1.0f, 0.0f}, options(1.0f, 2))[3] == 0.0);
  CHECK(distribution(equal, options(1.0f, 0, 0.5f)) == std::vector<double>{1.0 / 3, 1.0 / 3, 1.0 / 3, 0.0, 0.0});
  CHECK(distribution(kLogits, options(1.0f, 0, 1e-6f))[4] == 1.0);
  CHECK(distribution(kLogits, options(1.0f, 1))[4] == 1.0);
  CHECK(distribution(kLogits, options(1.0f, 100)) == distribution(kLogits, options(1.0f)));
  CHECK(distribution(equal, options(1.0f, 0, 1.0f, 1.0f))[4] == doctest::Approx(0.2));
}

TEST_CASE("top-p over a large flat vocabulary keeps just enough") {
  std::vector<float> logits(5000);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(0.1 * philox_uniform(1, 0, i));
  const auto all = distribution(logits, options(1.0f));
  const auto kept = distribution(logits, options(1.0f, 0, 0.9f));
  double mass = 0.0, least_kept = 1.0, most_cut = 0.0;
  for (size_t i = 0; i < all.size(); ++i) {
    mass += kept[i] > 0.0 ? all[i] : 0.0;
    if (kept[i] > 0.0) least_kept = std::min(least_kept, all[i]);
    if (kept[i] == 0.0) most_cut = std::max(most_cut, all[i]);
  }
  CHECK(most_cut <= least_kept);
  CHECK(mass >= 0.9 - 1e-7);
  CHECK(mass - least_kept < 0.9);
}

TEST_CASE("draws follow the distribution, and a seed and position alone decide them") {
  SamplingOptions o = options(1.0f, 0, 1.0f, 0.0f, 1.0f);
  o.seed = 42;
  const auto expected = distribution(kLogits, o);
  std::vector<int> counts(kLogits.size());
  constexpr int kDraws = 40000;
  for (uint64_t position = 0; position < kDraws; ++position)
    ++counts[static_cast<size_t>(sample(kLogits, o, position))];
  for (size_t i = 0; i < counts.size(); ++i) {
    const double mean = expected[i] * kDraws;  // within five standard deviations
    CHECK(std::fabs(counts[i] - mean) < 5.0 * std::sqrt(mean * (1.0 - expected[i])) + 1.0);
  }
  CHECK(sample(kLogits, o, 7) == sample(kLogits, o, 7));
  SamplingOptions other = o;
  other.seed = 43;
  int same = 0;
  for (uint64_t position = 0; position < 200; ++position)
    same += sample(kLogits, o, position) == sample(kLogits, other, position);
  CHECK(same < 120);
  for (uint64_t position = 0; position < 2000; ++position) {
    const int32_t id = sample({-kInfinity, 0.0f, -kInfinity, -2000.0f, 0.5f}, o, position);
    CHECK((id == 1 || id == 4));
  }
  CHECK(sample(kLogits, options(1e-38f)) == 4);
}

TEST_CASE("logits that are no numbers and options out of range give codes") {
  const auto code = [](const std::vector<float>& logits, const SamplingOptions& o,
                       const std::vector<int32_t>& history = {}) {
    return error_code([&] { sample(logits, o, 0, history); });
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float temperature : {0.0f, 1.0f}) {
    const SamplingOptions o = options(temperature);
    CHECK(code({1.0f, nan, 2.0f}, o) == "ERR_NOT_FINITE");
    CHECK(code({nan}, o) == "ERR_NOT_FINITE");
    CHECK(code({1.0f, kInfinity}, o) == "ERR_NOT_FINITE");
    CHECK(code({-kInfinity, -kInfinity}, o) == "ERR_NOT_FINITE");
    CHECK(code({-kInfinity, 1.0f}, o) == "");
    CHECK(code({}, o) == "ERR_ARGUMENT");
  }
  const SamplingOptions bad[] = {options(-1.0f),
                                 options(nan),
                                 options(kInfinity),
                                 options(1.0f, -1),
                                 options(1.0f, 0, 0.0f),
                                 options(1.0f, 0, 1.5f),
                                 options(1.0f, 0, nan),
                                 options(1.0f, 0, 1.0f, -0.1f),
                                 options(1.0f, 0, 1.0f, 1.1f),
                                 options(1.0f, 0, 1.0f, 0.0f, 0.0f),
                                 options(1.0f, 0, 1.0f, 0.0f, nan)};
  for (const SamplingOptions& o : bad) CHECK(code({1.0f, 2.0f}, o) == "ERR_ARGUMENT");
  CHECK(code({1.0f, 2.0f}, options(1.0f, 0, 1.0f, 0.0f, 1.5f), {2}) == "ERR_ARGUMENT");
  CHECK(code({1.0f, 2.0f}, options(1.0f, 0, 1.0f, 0.0f, 1.5f), {-1}) == "ERR_ARGUMENT");
}
