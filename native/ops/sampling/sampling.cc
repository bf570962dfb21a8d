#include "ops/sampling/sampling.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/error.h"
#include "ops/sampling/sampling_row.h"

namespace rubricate {

void check_sampling(int64_t vocabulary, const SamplingOptions& options) {
  const auto within = [](bool good, const char* what, const char* name, auto value) {
    require(good, "ERR_ARGUMENT", "Expected ", what, " for ", name, " but received ", value);
  };
  within(vocabulary >= 1 && vocabulary <= std::numeric_limits<int32_t>::max(), "1 or more", "vocabulary", vocabulary);
  within(options.temperature >= 0.0f && std::isfinite(options.temperature), "a finite number of 0 or more",
         "temperature", options.temperature);
  within(options.top_k >= 0, "an integer of 0 or more", "topK", options.top_k);
  within(options.top_p > 0.0f && options.top_p <= 1.0f, "a number above 0 and up to 1", "topP", options.top_p);
  within(options.min_p >= 0.0f && options.min_p <= 1.0f, "a number from 0 to 1", "minP", options.min_p);
  within(options.repetition_penalty > 0.0f && std::isfinite(options.repetition_penalty), "a finite number above 0",
         "repetitionPenalty", options.repetition_penalty);
  within(std::fabs(options.frequency_penalty) <= 2.0f, "a number from -2 to 2", "frequencyPenalty",
         options.frequency_penalty);
  within(std::fabs(options.presence_penalty) <= 2.0f, "a number from -2 to 2", "presencePenalty",
         options.presence_penalty);
  if (options.logit_bias == nullptr) return;
  int64_t before = -1;
  for (const LogitBias& own : *options.logit_bias) {
    within(own.id > before && own.id < vocabulary, "ascending ids of the vocabulary", "logitBias", own.id);
    within(std::fabs(own.bias) <= 100.0f, "numbers from -100 to 100", "logitBias", own.bias);
    before = own.id;
  }
}

namespace {

[[noreturn]] void fail_not_finite() {
  fail("ERR_NOT_FINITE",
       "Expected logits that are numbers, at least one of them finite, but received NaN, +inf or only -inf");
}

// The logits of a row after bias and penalties.
std::vector<float> changed(const float* logits, int64_t vocabulary, const SamplingOptions& options,
                           const TokenCounts* counts) {
  std::vector<float> scores(logits, logits + vocabulary);
  const auto apply = [&](const SamplingChange& change) {
    float& score = scores[static_cast<size_t>(change.id)];
    score = changed_score(score, change);
  };
  each_bias(options, apply);
  each_penalty(vocabulary, options, counts, apply);
  return scores;
}

// The lowest id with the largest score; -1 if a score is NaN or +inf, or all are -inf. Sixteen independent lanes, which
// compilers vectorize.
int32_t most_likely(const float* scores, int64_t vocabulary) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr int64_t kLanes = 16;
  float most[kLanes];
  int32_t invalid[kLanes] = {};
  std::fill(most, most + kLanes, -kInfinity);
  const auto visit = [&](int64_t lane, float score) {
    most[lane] = score > most[lane] ? score : most[lane];
    invalid[lane] |= score < kInfinity ? 0 : 1;  // true for NaN too
  };
  int64_t i = 0;
  for (; i + kLanes <= vocabulary; i += kLanes)
    for (int64_t lane = 0; lane < kLanes; ++lane) visit(lane, scores[i + lane]);
  for (; i < vocabulary; ++i) visit(i % kLanes, scores[i]);
  const float top = *std::max_element(most, most + kLanes);
  const bool finite = std::all_of(invalid, invalid + kLanes, [](int32_t count) { return count == 0; });
  if (!finite || !(top > -kInfinity)) return -1;
  return static_cast<int32_t>(std::find(scores, scores + vocabulary, top) - scores);
}

// The candidate tokens, ids ascending, and their weights.
struct Candidates {
  std::vector<int32_t> ids;
  std::vector<FixedProb> weights;

  FixedProb total() const {
    FixedProb sum = 0;
    for (const FixedProb weight : weights) sum += weight;
    return sum;
  }
  template <typename Keep>
  void filter(Keep&& keep) {
    size_t kept = 0;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (!keep(i)) continue;
      ids[kept] = ids[i];
      weights[kept++] = weights[i];
    }
    ids.resize(kept);
    weights.resize(kept);
  }
};

Candidates above_top_k(const std::vector<float>& scores, float most, const SamplingOptions& options) {
  float least = std::numeric_limits<float>::lowest();
  if (options.top_k > 0 && static_cast<size_t>(options.top_k) < scores.size()) {
    std::vector<float> order = scores;
    const auto kth = order.begin() + (options.top_k - 1);
    std::nth_element(order.begin(), kth, order.end(), std::greater<float>());
    least = std::max(least, *kth);
  }
  const int32_t bits = weight_bits(static_cast<int64_t>(scores.size()));
  Candidates candidates;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (!(scores[i] >= least)) continue;
    candidates.ids.push_back(static_cast<int32_t>(i));
    candidates.weights.push_back(sampling_weight(scores[i], most, options.temperature, bits));
  }
  return candidates;
}

// Sorts only as many of the most likely tokens as are needed to reach top_p: usually few.
void keep_top_p(Candidates& candidates, const std::vector<float>& scores, double top_p) {
  const auto score = [&](size_t i) { return scores[static_cast<size_t>(candidates.ids[i])]; };
  const auto likelier = [&](size_t a, size_t b) { return score(a) != score(b) ? score(a) > score(b) : a < b; };
  std::vector<size_t> order(candidates.ids.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  const FixedProb enough = mass_enough(top_p, candidates.total());
  std::vector<bool> kept(order.size(), false);
  FixedProb above = 0;
  for (size_t begin = 0, end = 0; end < order.size() && above < enough; begin = end) {
    end = std::min(order.size(), std::max<size_t>(64, end * 8));
    const auto first = order.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto last = order.begin() + static_cast<std::ptrdiff_t>(end);
    if (last != order.end()) std::nth_element(first, last, order.end(), likelier);
    std::sort(first, last, likelier);
    for (size_t i = begin; i < end && above < enough; ++i) {
      kept[order[i]] = true;
      above += candidates.weights[order[i]];
    }
  }
  candidates.filter([&](size_t i) { return kept[i]; });
}

// None if the row is not finite.
Candidates candidates_for(const float* logits, int64_t vocabulary, const SamplingOptions& options,
                          const TokenCounts* counts) {
  std::vector<float> own;
  if (options.temperature != 0.0f || options.counts() || options.logit_bias != nullptr)
    own = changed(logits, vocabulary, options, counts);
  const int32_t best = most_likely(own.empty() ? logits : own.data(), vocabulary);  // the usual case: no copy
  if (best < 0) return {};
  if (options.temperature == 0.0f) return {{best}, {1}};
  Candidates candidates = above_top_k(own, own[static_cast<size_t>(best)], options);
  if (options.top_p < 1.0f) keep_top_p(candidates, own, static_cast<double>(options.top_p));
  const FixedProb least = least_weight(options, weight_bits(vocabulary));
  if (least > 0) candidates.filter([&](size_t i) { return candidates.weights[i] >= least; });
  return candidates;
}

}  // namespace

int32_t sample_finite(const float* logits, int64_t vocabulary, const SamplingOptions& options,
                      const TokenCounts* counts, uint64_t position) {
  const Candidates candidates = candidates_for(logits, vocabulary, options, counts);
  if (candidates.ids.empty()) return -1;
  const FixedProb drawn = mass_drawn(uniform_of(options, position), candidates.total());
  FixedProb cumulative = 0;
  for (size_t i = 0; i < candidates.ids.size(); ++i) {
    cumulative += candidates.weights[i];
    if (cumulative > drawn) return candidates.ids[i];
  }
  fail("ERR_INTERNAL", "Expected a token for every draw");
}

int32_t sample_token(const float* logits, int64_t vocabulary, const SamplingOptions& options, const TokenCounts& counts,
                     uint64_t position) {
  check_sampling(vocabulary, options);
  const int32_t id = sample_finite(logits, vocabulary, options, &counts, position);
  if (id < 0) fail_not_finite();
  return id;
}

std::vector<double> sampling_distribution(const float* logits, int64_t vocabulary, const SamplingOptions& options,
                                          const TokenCounts& counts) {
  check_sampling(vocabulary, options);
  const Candidates candidates = candidates_for(logits, vocabulary, options, &counts);
  if (candidates.ids.empty()) fail_not_finite();
  const auto total = static_cast<double>(candidates.total());
  std::vector<double> probabilities(static_cast<size_t>(vocabulary), 0.0);
  for (size_t i = 0; i < candidates.ids.size(); ++i)
    probabilities[static_cast<size_t>(candidates.ids[i])] = static_cast<double>(candidates.weights[i]) / total;
  return probabilities;
}

}  // namespace rubricate
