#include "ops/sampling/log_probs.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "ops/cross_entropy/cross_entropy.h"
#include "ops/sampling/sampling.h"
#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

bool same_floats(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

Doubles exact(const float* logits, int64_t vocabulary) {
  const double most = static_cast<double>(*std::max_element(logits, logits + vocabulary));
  double sum = 0.0;
  for (int64_t i = 0; i < vocabulary; ++i) sum += std::exp(static_cast<double>(logits[i]) - most);
  Doubles log_probs;
  for (int64_t i = 0; i < vocabulary; ++i) log_probs.push_back(static_cast<double>(logits[i]) - most - std::log(sum));
  return log_probs;
}

// Hidden states, a head, and which rows score which targets.
struct Scored {
  Tensor x;
  Weight head;
  std::vector<int32_t> rows, targets;

  Scored(DType dtype, int64_t count, int64_t vocabulary, int64_t width) {
    x = placed(random_tensor(test_arena(), {count, width}, dtype, 3, -2.0, 2.0));
    head = Weight::of(placed(random_tensor(test_arena(), {vocabulary, width}, dtype, 4)));
    for (int32_t row = 0; row < count; row += row % 3 == 0 ? 1 : 2) {
      rows.push_back(row);
      targets.push_back(static_cast<int32_t>(row * 37 % vocabulary));
    }
  }
  int64_t count() const { return static_cast<int64_t>(rows.size()); }
};

}  // namespace

TEST_CASE("log-probabilities: of the chosen and the likeliest, against double, on every setting and device") {
  constexpr int64_t kVocabulary = 2531;
  const Tensor logits = random_tensor(test_arena(), {3, kVocabulary}, DType::f32, 9, -12.0, 12.0);
  on_every_device([&] {
    Tape tape(device_arena(), Tape::Mode::inference);
    const std::vector<LogProbs> got =
        log_probs_of(tape, placed(logits), {{2, 17, 20}, {0, 2530, 0}, {1, 0, 1}, {2, 5, 3}});
    REQUIRE(got.size() == 4);
    const int32_t rows[] = {2, 0, 1, 2}, chosen[] = {17, 2530, 0, 5};
    const size_t tops[] = {20, 0, 1, 3};
    for (size_t i = 0; i < got.size(); ++i) {
      const Doubles expected = exact(logits.data<float>() + rows[i] * kVocabulary, kVocabulary);
      check_close({static_cast<double>(got[i].chosen)}, {expected[static_cast<size_t>(chosen[i])]}, 1e-6, 1e-6);
      REQUIRE(got[i].top.size() == tops[i]);
      std::vector<int32_t> order(kVocabulary);
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
        return expected[static_cast<size_t>(a)] > expected[static_cast<size_t>(b)];
      });
      for (size_t k = 0; k < tops[i]; ++k) {
        CHECK(got[i].top[k].id == order[k]);
        check_close({static_cast<double>(got[i].top[k].log_prob)}, {expected[static_cast<size_t>(order[k])]}, 1e-6,
                    1e-6);
      }
    }
  });
}

TEST_CASE("log-probabilities: equal logits come by id, more than the vocabulary gives all, certainty is 0") {
  const float logits[] = {1.0f, 2.0f, 2.0f, -INFINITY, 1.0f, 2.0f};
  for (const auto& stream : devices()) {
    present_device() = stream;
    Tape tape(device_arena(), Tape::Mode::inference);
    const Tensor row = placed(Tensor::from_host(test_arena(), {1, 6}, DType::f32, logits));
    const std::vector<TokenLogProb> top = log_probs_of(tape, row, {{0, 3, 20}})[0].top;
    std::vector<int32_t> ids;
    for (const TokenLogProb& one : top) ids.push_back(one.id);
    CHECK(ids == std::vector<int32_t>{1, 2, 5, 0, 4, 3});
    CHECK(top.back().log_prob == -INFINITY);
    const float sure[] = {-1000.0f, 5.0f};
    const Tensor one = placed(Tensor::from_host(test_arena(), {1, 2}, DType::f32, sure));
    const float certain = log_probs_of(tape, one, {{0, 1, 0}})[0].chosen;
    CHECK(certain == 0.0f);
    CHECK(!std::signbit(certain));
  }
  present_device() = nullptr;
}

TEST_CASE("scoring: the bits of the loss, of the logits' log-probabilities, and of sampling's, on every setting") {
  struct Case {
    DType dtype;
    int64_t rows, vocabulary, width;
  };
  for (const Case& c : {Case{DType::f32, 40, 333, 48}, Case{DType::bf16, 40, 5000, 64}, Case{DType::bf16, 3, 97, 32}}) {
    CAPTURE(c.vocabulary);
    on_every_device([&] {
      Tape tape(device_arena(), Tape::Mode::inference);
      const Scored own(c.dtype, c.rows, c.vocabulary, c.width);
      const auto scored = [&](const auto& top_of) {
        std::vector<LogProbRequest> wanted;
        for (size_t i = 0; i < own.rows.size(); ++i)
          wanted.push_back({own.rows[i], own.targets[i], top_of(static_cast<int32_t>(i))});
        return score_rows(tape, own.x, own.head, wanted);
      };
      std::vector<float> scores;
      for (const LogProbs& one : scored([](int32_t) { return 0; })) {
        scores.push_back(one.chosen);
        CHECK(one.top.empty());
      }

      const std::vector<float> weights(own.rows.size(), 0.25f);
      std::vector<float> losses =
          head_cross_entropy(tape, own.x, own.head, {own.count(), own.rows.data(), own.targets.data(), weights.data()})
              .row_loss;
      for (float& loss : losses) loss = 0.0f - loss;
      CHECK(same_floats(scores, losses));

      std::vector<LogProbRequest> requests;
      for (int32_t i = 0; i < own.count(); ++i) requests.push_back({i, own.targets[static_cast<size_t>(i)], 20});
      const Tensor logits = head_logits(tape, own.x, own.head, own.count(), own.rows.data());
      // Rows with the likeliest tokens beside rows without.
      const std::vector<LogProbs> with_tops = scored([](int32_t i) { return i % 3 * 10; });
      std::vector<float> chosen;
      for (const LogProbs& one : log_probs_of(tape, logits, requests)) {
        const size_t at = chosen.size();
        chosen.push_back(one.chosen);
        for (const TokenLogProb& top : one.top)
          if (top.id == own.targets[at]) CHECK(same_floats({top.log_prob}, {one.chosen}));
        CHECK(same_floats({with_tops[at].chosen}, {one.chosen}));
        REQUIRE(with_tops[at].top.size() == at % 3 * 10);
        for (size_t k = 0; k < with_tops[at].top.size(); ++k) {
          CHECK(with_tops[at].top[k].id == one.top[k].id);
          CHECK(same_floats({with_tops[at].top[k].log_prob}, {one.top[k].log_prob}));
        }
      }
      CHECK(same_floats(scores, chosen));
    });
  }
}

TEST_CASE("log-probabilities that sampling tells are of the logits before bias, penalties and temperature") {
  constexpr int64_t kVocabulary = 600;
  const Tensor logits = random_tensor(test_arena(), {1, kVocabulary}, DType::f32, 21, -3.0, 3.0);
  TokenCounts counts;
  for (const int32_t id : {1, 1, 5, 80}) counts.add_generated(id);
  SamplingOptions options;
  options.temperature = 0.3f;
  options.repetition_penalty = 1.5f;
  options.frequency_penalty = 1.0f;
  options.presence_penalty = 0.5f;
  options.logit_bias = std::make_shared<std::vector<LogitBias>>(std::vector<LogitBias>{{2, 5.0f}, {5, 4.0f}});
  on_every_device([&] {
    Tape tape(device_arena(), Tape::Mode::inference);
    const SampledToken sampled = sample_rows(tape, placed(logits), {{options, &counts, 3, 5}})[0];
    const LogProbs plain = log_probs_of(tape, placed(logits), {{0, sampled.id, 5}})[0];
    CHECK(same_floats({sampled.log_probs.chosen}, {plain.chosen}));
    REQUIRE(sampled.log_probs.top.size() == 5);
    for (size_t i = 0; i < 5; ++i) {
      CHECK(sampled.log_probs.top[i].id == plain.top[i].id);
      CHECK(same_floats({sampled.log_probs.top[i].log_prob}, {plain.top[i].log_prob}));
    }
  });
}

TEST_CASE("log-probabilities: wrong rows, tokens, counts and tensors give error codes") {
  Tape tape(test_arena(), Tape::Mode::inference);
  const Tensor logits = random_tensor(test_arena(), {2, 7}, DType::f32, 1);
  const auto code = [&](const Tensor& tensor, const LogProbRequest& request) {
    return error_code([&] { log_probs_of(tape, tensor, {request}); });
  };
  CHECK(code(logits, {1, 6, 20}) == "");
  for (const LogProbRequest& bad : {LogProbRequest{2, 0, 0}, {-1, 0, 0}, {0, 7, 0}, {0, -1, 0}, {0, 0, 21}, {0, 0, -1}})
    CHECK(code(logits, bad) == "ERR_ARGUMENT");
  CHECK(code(Tensor::zeros(test_arena(), {2, 7}, DType::bf16), {0, 0, 0}) == "ERR_DTYPE");
  CHECK(code(Tensor::zeros(test_arena(), {7}, DType::f32), {0, 0, 0}) == "ERR_SHAPE");
  const Scored own(DType::f32, 4, 7, 8);
  for (const LogProbRequest& bad :
       {LogProbRequest{9, 0, 0}, {9, 0, 2}, {-1, 0, 2}, {0, 7, 0}, {0, 7, 2}, {0, 0, 21}, {0, 0, -1}})
    CHECK(error_code([&] { score_rows(tape, own.x, own.head, {bad}); }) == "ERR_ARGUMENT");
  CHECK(score_rows(tape, own.x, own.head, {}).empty());
}

TEST_CASE("scoring with the likeliest tokens over several chunks of rows is the same as row by row") {
  constexpr int64_t kVocabulary = 530000;
  REQUIRE(head_rows_per_chunk(kVocabulary) == 16);
  Tape tape(test_arena(), Tape::Mode::inference);
  const Scored own(DType::f32, 40, kVocabulary, 8);
  REQUIRE(own.count() > 16);
  std::vector<LogProbRequest> wanted;
  for (size_t i = 0; i < own.rows.size(); ++i) wanted.push_back({own.rows[i], own.targets[i], 2});
  const std::vector<LogProbs> together = score_rows(tape, own.x, own.head, wanted);
  for (size_t i = 0; i < wanted.size(); ++i) {
    const LogProbs single = score_rows(tape, own.x, own.head, {wanted[i]})[0];
    CHECK(same_floats({together[i].chosen}, {single.chosen}));
    for (size_t k = 0; k < 2; ++k) {
      CHECK(together[i].top[k].id == single.top[k].id);
      CHECK(same_floats({together[i].top[k].log_prob}, {single.top[k].log_prob}));
    }
  }
}

TEST_CASE("log-probabilities: in a row whose logits are not numbers all is NaN, and other rows have theirs") {
  const float infinite = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  on_every_device([&] {
    for (const std::vector<float>& bad : {std::vector<float>{0, nan, 1, 2},
                                          {nan, nan, nan, nan},
                                          {0, infinite, 1, 2},
                                          {-infinite, -infinite, -infinite, -infinite}}) {
      std::vector<float> values = bad;
      values.insert(values.end(), {1, 3, 2, -infinite});
      Tape tape(device_arena(), Tape::Mode::inference);
      const Tensor logits = placed(Tensor::from_host(test_arena(), {2, 4}, DType::f32, values.data()));
      const std::vector<LogProbs> got = log_probs_of(tape, logits, {{0, 2, 4}, {1, 1, 2}});
      CHECK(std::isnan(got[0].chosen));
      CHECK(got[0].top.empty());
      REQUIRE(got[1].top.size() == 2);
      CHECK(got[1].top[0].id == 1);
      CHECK(same_floats({got[1].top[0].log_prob}, {got[1].chosen}));
    }
  });
}
