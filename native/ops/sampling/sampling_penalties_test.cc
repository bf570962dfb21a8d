// Logit bias, repetition, frequency and presence penalties: against transformers and vLLM's formulas, and their order.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <vector>

#include "ops/sampling/sampling.h"
#include "tests/sampled_ids.h"
#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

const std::vector<float> kLogits = {2.0f, -1.0f, 0.5f, 2.0f, 3.25f, -0.25f, 0.0f, 1.5f, -3.0f, 1.25f};
const std::vector<int32_t> kPrompt = {4, 1, 4, 7};
const std::vector<int32_t> kGenerated = {3, 4, 3, 3, 5};

TokenCounts counts_of(const std::vector<int32_t>& prompt, const std::vector<int32_t>& generated) {
  TokenCounts counts;
  counts.add_prompt(prompt.data(), static_cast<int64_t>(prompt.size()));
  for (const int32_t id : generated) counts.add_generated(id);
  return counts;
}

struct Penalties {
  std::vector<LogitBias> bias = {};
  float repetition = 1.0f, frequency = 0.0f, presence = 0.0f;
  float temperature = 1.0f;
  int32_t top_k = 0;
  float top_p = 1.0f, min_p = 0.0f;
};

SamplingOptions options_of(const Penalties& penalties) {
  SamplingOptions options;
  options.temperature = penalties.temperature;
  options.top_k = penalties.top_k;
  options.top_p = penalties.top_p;
  options.min_p = penalties.min_p;
  options.repetition_penalty = penalties.repetition;
  options.frequency_penalty = penalties.frequency;
  options.presence_penalty = penalties.presence;
  options.seed = 11;
  if (!penalties.bias.empty()) options.logit_bias = std::make_shared<std::vector<LogitBias>>(penalties.bias);
  return options;
}

// The definitions in double, without top-k, top-p and min-p.
Doubles reference(const std::vector<float>& logits, const Penalties& penalties, const std::vector<int32_t>& prompt,
                  const std::vector<int32_t>& generated) {
  Doubles z(logits.begin(), logits.end());
  for (const LogitBias& own : penalties.bias) z[static_cast<size_t>(own.id)] += static_cast<double>(own.bias);
  const auto times = [](const std::vector<int32_t>& ids, size_t id) {
    return static_cast<double>(std::count(ids.begin(), ids.end(), static_cast<int32_t>(id)));
  };
  const auto repetition = static_cast<double>(penalties.repetition);
  double sum = 0.0;
  for (size_t id = 0; id < z.size(); ++id) {
    if (times(prompt, id) + times(generated, id) > 0) z[id] = z[id] < 0 ? z[id] * repetition : z[id] / repetition;
    z[id] -= static_cast<double>(penalties.frequency) * times(generated, id);
    if (times(generated, id) > 0) z[id] -= static_cast<double>(penalties.presence);
    sum += std::exp(z[id] / static_cast<double>(penalties.temperature));
  }
  for (double& value : z) value = std::exp(value / static_cast<double>(penalties.temperature)) / sum;
  return z;
}

Tensor rows_of(const std::vector<float>& logits, size_t rows) {
  std::vector<float> all;
  for (size_t row = 0; row < rows; ++row) all.insert(all.end(), logits.begin(), logits.end());
  return Tensor::from_host(test_arena(), {static_cast<int64_t>(rows), static_cast<int64_t>(logits.size())}, DType::f32,
                           all.data());
}

const std::vector<Penalties> kKinds = {
    {.bias = {{0, 1.5f}, {4, -2.0f}}},
    {.frequency = 0.75f},
    {.presence = 1.25f},
    {.frequency = -2.0f, .presence = -2.0f},
    {.repetition = 1.3f, .frequency = 2.0f},
    {.bias = {{3, 1.0f}, {4, -3.5f}, {9, -100.0f}}, .repetition = 1.25f, .frequency = 0.5f, .presence = 0.25f},
    {.bias = {{8, 100.0f}}, .temperature = 0.7f},
    {.bias = {{2, 0.5f}}, .repetition = 0.8f, .frequency = 0.1f, .presence = 0.6f, .temperature = 1.5f}};

}  // namespace

TEST_CASE("sampling: bias and penalties are what their formulas say, in double") {
  const TokenCounts counts = counts_of(kPrompt, kGenerated);
  for (const Penalties& kind : kKinds)
    check_close(sampling_distribution(kLogits.data(), 10, options_of(kind), counts),
                reference(kLogits, kind, kPrompt, kGenerated), 2e-6, 1e-9);
}

TEST_CASE("sampling: bias and penalties as transformers' processors give them") {
  struct Case {
    Penalties penalties;
    Doubles expected;
  };
  // By test/parity/make_sampling_fixture.py with transformers 5.18, of kLogits with kPrompt and kGenerated.
  const Case cases[] = {
      {{.bias = {{0, 1.5f}, {4, -2.0f}}},
       {0.59333849, 0.00659139501, 0.0295405835, 0.132391721, 0.0625374168, 0.0139539838, 0.0179172698, 0.0802996308,
        0.000892048294, 0.0625374168}},
      {{.bias = {{1, 2.5f}, {3, -1.0f}}, .repetition = 1.25f},
       {0.201671675, 0.0906169266, 0.0449990332, 0.060742341, 0.367469728, 0.0199682005, 0.0272932947, 0.0906169266,
        0.00135885307, 0.0952629596}},
      {{.repetition = 1.3f, .frequency = 0.5f},
       {0.285431653, 0.0105276238, 0.0636884123, 0.0401436463, 0.285431653, 0.0169285685, 0.0386289731, 0.122467875,
        0.00192322338, 0.134828359}},
      {{.frequency = 0.4f, .presence = 0.7f},
       {0.260391235, 0.0129641164, 0.05810114, 0.0389463566, 0.302531421, 0.00913565978, 0.0352401212, 0.157935277,
        0.00175450288, 0.123000115}},
      {{.bias = {{2, 3.0f}, {5, 1.5f}}, .repetition = 1.2f, .frequency = 0.25f, .presence = 0.5f, .temperature = 0.8f},
       {0.104036726, 0.00190549891, 0.678404629, 0.0143762454, 0.0987568125, 0.0122966561, 0.00853985455, 0.0407413654,
        0.000200838113, 0.0407413654}},
      {{.bias = {{7, 2.0f}}, .presence = -1.0f, .temperature = 1.3f, .top_k = 6, .top_p = 0.85f},
       {0.0835180134, 0, 0, 0.180240706, 0.471458793, 0, 0, 0.264782459, 0, 0}},
      {{.bias = {{9, 1.0f}}, .repetition = 0.9f, .frequency = -0.3f, .min_p = 0.1f},
       {0.0779251605, 0, 0, 0.239360616, 0.52682054, 0, 0, 0.0558358207, 0, 0.100057885}},
  };
  const TokenCounts counts = counts_of(kPrompt, kGenerated);
  for (const Case& c : cases)
    check_close(sampling_distribution(kLogits.data(), 10, options_of(c.penalties), counts), c.expected, 2e-6, 1e-12);
}

TEST_CASE("sampling: frequency and presence count what was generated, not the prompt; repetition both, once") {
  const auto best = [](const Penalties& penalties, const std::vector<float>& logits, const TokenCounts& counts) {
    Penalties greedy = penalties;
    greedy.temperature = 0.0f;
    return sample_token(logits.data(), static_cast<int64_t>(logits.size()), options_of(greedy), counts, 0);
  };
  const std::vector<float> close = {1.0f, 1.5f};
  for (const Penalties& kind : {Penalties{.frequency = 1.0f}, Penalties{.presence = 1.0f}}) {
    CHECK(best(kind, close, counts_of({1, 1, 1}, {})) == 1);
    CHECK(best(kind, close, counts_of({}, {1})) == 0);
    CHECK(best(kind, close, counts_of({0, 1}, {1})) == 0);
  }
  CHECK(best({.frequency = 1.0f}, {1.0f, 3.5f}, counts_of({}, {1, 1})) == 1);
  CHECK(best({.frequency = 1.0f}, {1.0f, 3.5f}, counts_of({}, {1, 1, 1})) == 0);
  CHECK(best({.presence = 1.0f}, {1.0f, 3.5f}, counts_of({}, {1, 1, 1})) == 1);
  CHECK(best({.repetition = 2.0f}, {1.0f, 1.5f}, counts_of({1, 1}, {})) == 0);
  CHECK(best({.repetition = 2.0f}, {1.0f, 1.5f}, counts_of({}, {1})) == 0);
  CHECK(best({.repetition = 2.0f}, {1.0f, 2.5f}, counts_of({1}, {1, 1})) == 1);  // once, whatever the count
  CHECK(best({.bias = {{0, 100.0f}}}, {1.0f, 50.0f}, {}) == 0);
  CHECK(best({.bias = {{0, 100.0f}}}, {-kInfinity, 50.0f}, {}) == 1);  // excluded stays excluded
  // The bias comes first: 1.5 - 2 is negative, so the repetition penalty makes it smaller. What is subtracted comes
  // after it: 0.5 / 2 - 1.
  CHECK(best({.bias = {{1, -2.0f}}, .repetition = 2.0f}, {-0.8f, 1.5f}, counts_of({1}, {})) == 0);
  CHECK(best({.repetition = 2.0f, .presence = 1.0f}, {-0.8f, 0.5f}, counts_of({}, {1})) == 1);
}

TEST_CASE("sampling: rows with bias and penalties give sample_token's ids on every setting and device") {
  const TokenCounts counts = counts_of(kPrompt, kGenerated);
  std::vector<float> logits(5003);
  for (size_t i = 0; i < logits.size(); ++i)
    logits[i] = i < 10 ? kLogits[i] : static_cast<float>(8.0 * philox_uniform(5, 2, i) - 6.0);
  std::vector<SampleRequest> requests;
  for (uint64_t position = 0; position < 5; ++position)
    for (const Penalties& kind : kKinds) {
      requests.push_back({options_of(kind), &counts, position});
      requests.back().options.top_p = 0.9f;
    }
  std::vector<int32_t> expected;
  for (const SampleRequest& request : requests)
    expected.push_back(sample_token(logits.data(), 5003, request.options, counts, request.position));
  const Tensor rows = rows_of(logits, requests.size());
  on_every_device([&] {
    Tape tape(device_arena(), Tape::Mode::inference);
    CHECK(sampled_ids(tape, placed(rows), requests) == expected);
  });
}

TEST_CASE("sampling: rows are split over threads") {
  const PoolSize size(2);
  const std::vector<SampleRequest> requests(8);
  const Tensor rows = rows_of(std::vector<float>(40000, 1.0f), requests.size());
  Tape tape(test_arena(), Tape::Mode::inference);
  const int64_t before = ThreadPool::instance().split_regions();
  sampled_ids(tape, rows, requests);
  CHECK(ThreadPool::instance().split_regions() > before);
}

TEST_CASE("sampling: a row that is not finite ends alone, with its company's ids unchanged, on every device") {
  std::vector<float> logits;
  for (const float odd : {0.5f, static_cast<float>(NAN), kInfinity, 2.0f})
    for (const float value : {1.0f, odd, -kInfinity}) logits.push_back(value);
  const Tensor rows = Tensor::from_host(test_arena(), {4, 3}, DType::f32, logits.data());
  for (const auto& stream : devices()) {
    present_device() = stream;
    for (const int32_t top : {-1, 0, 2}) {
      const std::vector<SampleRequest> requests(4, SampleRequest{{}, nullptr, 0, top});
      Tape tape(device_arena(), Tape::Mode::inference);
      const std::vector<SampledToken> sampled = sample_rows(tape, placed(rows), requests);
      REQUIRE(sampled.size() == 4);
      CHECK(sampled[0].id == 0);
      CHECK(sampled[1].id == -1);
      CHECK(sampled[2].id == -1);
      CHECK(sampled[3].id == 1);
      CHECK(error_code([&] { sampled_ids(tape, placed(rows), requests); }) == "ERR_NOT_FINITE");
    }
  }
  present_device() = nullptr;
}

TEST_CASE("sampling: penalties and biases out of range give error codes") {
  const float nan = static_cast<float>(NAN);
  const TokenCounts counts = counts_of({1}, {9});
  const auto code = [&](const Penalties& penalties) {
    return error_code([&] { sample_token(kLogits.data(), 10, options_of(penalties), counts, 0); });
  };
  CHECK(code({.frequency = 2.0f, .presence = -2.0f}) == "");
  for (const float bad : {2.0001f, -2.5f, nan, kInfinity}) {
    CHECK(code({.frequency = bad}) == "ERR_ARGUMENT");
    CHECK(code({.presence = bad}) == "ERR_ARGUMENT");
  }
  CHECK(code({.bias = {{0, -100.0f}, {9, 100.0f}}}) == "");
  const std::vector<std::vector<LogitBias>> bad_biases = {{{10, 1.0f}}, {{-1, 1.0f}},           {{3, 100.5f}},
                                                          {{3, nan}},   {{3, 1.0f}, {3, 1.0f}}, {{3, 1.0f}, {2, 1.0f}}};
  for (const std::vector<LogitBias>& bias : bad_biases) CHECK(code({.bias = bias}) == "ERR_ARGUMENT");
  Tape tape(test_arena(), Tape::Mode::inference);
  const SamplingOptions frequency = options_of({.frequency = 1.0f});
  CHECK(error_code([&] { sample_rows(tape, rows_of(kLogits, 1), {{frequency, nullptr, 0}}); }) == "ERR_INTERNAL");
  const TokenCounts outside = counts_of({}, {10});
  CHECK(error_code([&] { sample_rows(tape, rows_of(kLogits, 1), {{frequency, &outside, 0}}); }) == "ERR_ARGUMENT");
  for (const int32_t top : {-2, kMostTopLogProbs + 1})
    CHECK(error_code([&] { sample_rows(tape, rows_of(kLogits, 1), {{{}, nullptr, 0, top}}); }) == "ERR_ARGUMENT");
}
