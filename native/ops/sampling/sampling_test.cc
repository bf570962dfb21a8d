#include "ops/sampling/sampling.h"

#include <algorithm>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "ops/sampling/sampling_kernels.h"
#include "tests/sampled_ids.h"
#include "tests/test_support.h"

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

TokenCounts prompt(const std::vector<int32_t>& ids) {
  TokenCounts counts;
  counts.add_prompt(ids.data(), static_cast<int64_t>(ids.size()));
  return counts;
}

std::vector<double> distribution(const std::vector<float>& logits, const SamplingOptions& o,
                                 const std::vector<int32_t>& history = {}) {
  return sampling_distribution(logits.data(), static_cast<int64_t>(logits.size()), o, prompt(history));
}

int32_t sample(const std::vector<float>& logits, const SamplingOptions& o, uint64_t position = 0,
               const std::vector<int32_t>& history = {}) {
  return sample_token(logits.data(), static_cast<int64_t>(logits.size()), o, prompt(history), position);
}

// Logits on a grid, so that many are equal, some of them -0 and 0, and every eleventh -inf.
std::vector<float> gridded(size_t vocabulary, uint64_t seed, double step) {
  std::vector<float> logits(vocabulary);
  for (size_t i = 0; i < vocabulary; ++i) {
    logits[i] = static_cast<float>(std::round((philox_uniform(seed, 1, i) * 12.0 - 8.0) / step) * step);
    if (i % 11 == 7) logits[i] = -kInfinity;
  }
  return logits;
}

// What every_kind's requests were fed.
std::vector<int32_t> fed(int32_t vocabulary) {
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 9; ++i) ids.push_back(i * i * 7 % vocabulary);
  return ids;
}

// Each option by itself, all together, and at their bounds. `counts` must outlive them.
std::vector<SampleRequest> every_kind(const TokenCounts& counts, int32_t vocabulary) {
  const SamplingOptions kinds[] = {options(0.0f),
                                   options(0.0f, 0, 1.0f, 0.0f, 1.3f),
                                   options(1.0f),
                                   options(0.7f, 5),
                                   options(1.3f, vocabulary - 1),
                                   options(1.0f, vocabulary),
                                   options(1.0f, 0, 0.9f),
                                   options(2.0f, 0, 0.3f),
                                   options(1.0f, 0, 1e-6f),
                                   options(1.0f, 0, 1.0f, 0.05f),
                                   options(1.0f, 0, 1.0f, 1.0f),
                                   options(0.9f, 40, 0.95f, 0.02f, 0.8f),
                                   options(1.0f, 9, 1.0f, 0.9f),
                                   options(1.0f, 9, 1.0f, 0.9f),
                                   options(1.0f, 9, 1.0f, 0.9f),
                                   options(1.0f, 9, 1.0f, 0.9f),
                                   options(1e-38f),
                                   options(1e38f, 0, 0.5f)};
  std::vector<SampleRequest> requests;
  for (const SamplingOptions& kind : kinds) {
    requests.push_back({kind, &counts, requests.size()});
    requests.back().options.seed = 77;
  }
  return requests;
}

Tensor sampled(const Tensor& logits, const std::vector<SampleRequest>& requests) {
  Tape tape(device_arena(), Tape::Mode::inference);
  const std::vector<int32_t> ids = sampled_ids(tape, placed(logits), requests);
  return Tensor::from_host(test_arena(), {static_cast<int64_t>(ids.size())}, DType::i32, ids.data());
}

// A row of `logits` for each request.
Tensor rows_of(const std::vector<float>& logits, size_t rows) {
  std::vector<float> all;
  for (size_t row = 0; row < rows; ++row) all.insert(all.end(), logits.begin(), logits.end());
  return Tensor::from_host(test_arena(), {static_cast<int64_t>(rows), static_cast<int64_t>(logits.size())}, DType::f32,
                           all.data());
}

}  // namespace

TEST_CASE("weights: 2^bits for the largest, the exponential below it, and no overflow of a whole vocabulary") {
  for (const int64_t vocabulary : {1, 2, 255, 256, 32000, 128256, 2147483647}) {
    const int32_t bits = weight_bits(vocabulary);
    CHECK(sampling_weight(3.5f, 3.5f, 0.7f, bits) == FixedProb{1} << bits);
    CHECK((FixedProb{1} << 62) / static_cast<FixedProb>(vocabulary) >= FixedProb{1} << bits);
    CHECK(sampling_weight(-kInfinity, 3.5f, 0.7f, bits) == 0);
    CHECK(sampling_weight(-3e38f, 3e38f, 1.0f, bits) == 0);  // their difference is infinite
    CHECK(sampling_weight(-44.5f, 0.0f, 1.0f, bits) == 0);
  }
  double worst = 0.0;
  for (int i = 0; i <= 20000; ++i) {
    const float x = -static_cast<float>(i) / 1000.0f;
    const double exact = std::ldexp(std::exp(static_cast<double>(x)), 60);
    worst = std::max(worst, std::fabs(static_cast<double>(sampling_weight(x, 0.0f, 1.0f, 60)) / exact - 1.0));
  }
  CHECK(worst < 0x1p-22);
}

TEST_CASE("keys order floats, and convert back to them") {
  const float ordered[] = {-kInfinity, -3e38f, -1.0f, -1e-40f, 0.0f, 1e-40f, 0.5f, 3e38f, kInfinity};
  for (size_t i = 0; i < std::size(ordered); ++i) {
    CHECK(score_of_key(ordered_key(ordered[i])) == ordered[i]);
    if (i > 0) CHECK(ordered_key(ordered[i - 1]) < ordered_key(ordered[i]));
  }
  CHECK(ordered_key(-0.0f) == ordered_key(0.0f));
  CHECK(ordered_key(-kInfinity) > 0);
}

TEST_CASE("rows are sampled as sample_token does, the same tokens on every device") {
  struct Case {
    size_t vocabulary;
    double step;
  };
  for (const Case& c : {Case{1, 1.0}, Case{10, 0.5}, Case{61, 1.0}, Case{1028, 0.125}, Case{9001, 0.01}}) {
    CAPTURE(c.vocabulary);
    const std::vector<int32_t> history = fed(static_cast<int32_t>(c.vocabulary));
    const TokenCounts counts = prompt(history);
    const std::vector<SampleRequest> requests = every_kind(counts, static_cast<int32_t>(c.vocabulary));
    const std::vector<float> logits = gridded(c.vocabulary, 3, c.step);
    std::vector<int32_t> expected;
    for (const SampleRequest& request : requests)
      expected.push_back(sample(logits, request.options, request.position, history));
    const Tensor all =
        Tensor::from_host(test_arena(), {static_cast<int64_t>(expected.size())}, DType::i32, expected.data());
    const Tensor rows = rows_of(logits, requests.size());
    for (const auto& stream : devices()) {
      present_device() = stream;
      CHECK(same_bits(sampled(rows, requests), all));
    }
    present_device() = nullptr;
  }
}

TEST_CASE("the penalty acts once on each id, on either side of 0, on every device") {
  const SamplingOptions half = options(0.0f, 0, 1.0f, 0.0f, 2.0f);
  for (const auto& stream : devices()) {
    present_device() = stream;
    const auto id = [&](const std::vector<float>& logits, const std::vector<int32_t>& history) {
      const TokenCounts counts = prompt(history);
      return to_doubles(sampled(rows_of(logits, 1), {{half, &counts, 0}}))[0];
    };
    CHECK(id({2.0f, 3.0f}, {1, 1}) == 0);
    CHECK(id({2.0f, 4.5f}, {1, 1}) == 1);
    CHECK(id({-2.0f, -1.5f}, {1}) == 0);
    CHECK(id({-3.5f, -1.5f}, {1, 1}) == 1);
  }
  present_device() = nullptr;
}

TEST_CASE("a device draws the CPU's tokens, over parts of a row and ties among them") {
  if (!test_stream()) return;
  for (const SamplingOptions& kind : {options(1.0f), options(1.0f, 3000), options(1.5f, 0, 0.7f)}) {
    CAPTURE(kind.top_k);
    const std::vector<float> logits = gridded(8195, 5, 4.0);  // four distinct values: top-p splits thousands of ties
    std::vector<SampleRequest> requests;
    for (uint64_t position = 0; position < 10; ++position) requests.push_back({kind, nullptr, position});
    present_device() = nullptr;
    const Tensor rows = rows_of(logits, requests.size()), here = sampled(rows, requests);
    present_device() = test_stream();
    CHECK(same_bits(sampled(rows, requests), here));
    present_device() = nullptr;
    std::vector<int32_t> ids(here.data<int32_t>(), here.data<int32_t>() + here.count());
    CHECK(*std::max_element(ids.begin(), ids.end()) > 4096);
    CHECK(*std::min_element(ids.begin(), ids.end()) < 4096);
  }
}

TEST_CASE("on a device tokens are the same in every order of threads and blocks") {
  const TokenCounts counts = prompt(fed(5000));
  const std::vector<SampleRequest> all = every_kind(counts, 5000);
  const std::vector<SampleRequest> requests = {all[0], all[3], all[6], all[11]};
  const Tensor rows = rows_of(gridded(5000, 9, 0.25), requests.size());
  on_every_order([&] { return std::vector<Tensor>{sampled(rows, requests)}; });
}

TEST_CASE("a device downloads one id per row and no more") {
  if (!test_stream()) return;
  present_device() = test_stream();
  const TokenCounts counts = prompt(fed(1028));
  const std::vector<SampleRequest> requests = every_kind(counts, 1028);
  const Tensor rows = placed(rows_of(gridded(1028, 3, 0.125), requests.size()));
  Tape tape(device_arena(), Tape::Mode::inference);
  const int64_t before = test_stream()->downloaded();
  sampled_ids(tape, rows, requests);
  CHECK(test_stream()->downloaded() - before == static_cast<int64_t>(4 * requests.size()));
  present_device() = nullptr;
}

TEST_CASE("rows that cannot be sampled give error codes, on every device") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto code = [](const std::vector<float>& logits, const SamplingOptions& o,
                       const std::vector<int32_t>& history = {}) {
    const std::vector<float> good(logits.size(), 1.0f);
    std::vector<float> both = good;
    both.insert(both.end(), logits.begin(), logits.end());
    const Tensor rows =
        Tensor::from_host(test_arena(), {2, static_cast<int64_t>(logits.size())}, DType::f32, both.data());
    const TokenCounts counts = prompt(history);
    return error_code([&] { sampled(rows, {{{}, nullptr, 0}, {o, &counts, 1}}); });
  };
  for (const auto& stream : devices()) {
    present_device() = stream;
    for (const SamplingOptions& o : {options(0.0f), options(1.0f), options(1.0f, 1, 0.5f, 0.1f)}) {
      CHECK(code({1.0f, nan, 2.0f}, o) == "ERR_NOT_FINITE");
      CHECK(code({1.0f, kInfinity, 2.0f}, o) == "ERR_NOT_FINITE");
      CHECK(code({-kInfinity, -kInfinity, -kInfinity}, o) == "ERR_NOT_FINITE");
      CHECK(code({-kInfinity, 1.0f, -kInfinity}, o) == "");
    }
    CHECK(code({1.0f, 3e38f}, options(1.0f, 0, 1.0f, 0.0f, 1e-3f), {1}) == "ERR_NOT_FINITE");  // overflows
    CHECK(code({1.0f, 2.0f}, options(-1.0f)) == "ERR_ARGUMENT");
    CHECK(code({1.0f, 2.0f}, options(1.0f, 0, 1.0f, 0.0f, 1.5f), {2}) == "ERR_ARGUMENT");
    Tape tape(device_arena(), Tape::Mode::inference);
    const Tensor one = placed(rows_of({1.0f, 2.0f}, 1));
    CHECK(error_code([&] { sampled_ids(tape, one, {}); }) == "ERR_SHAPE");
    CHECK(error_code([&] {
            sampled_ids(tape, Tensor::zeros(device_arena(), {1, 2}, DType::bf16), {{}});
          }) == "ERR_DTYPE");
    if (stream) CHECK(error_code([&] { sampled_ids(tape, rows_of({1.0f}, 1), {{}}); }) == "ERR_FOREIGN");
  }
  present_device() = nullptr;
}

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

TEST_CASE("draws follow the distribution, and depend only on seed and position") {
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

TEST_CASE("NaN logits and options out of range give error codes") {
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
