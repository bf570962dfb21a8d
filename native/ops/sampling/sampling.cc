#include "ops/sampling/sampling.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/error.h"
#include "base/random.h"

namespace rubricate {
namespace {

constexpr uint64_t kSamplingStream = 0x73616d706c65;  // "sample": apart from other uses of the same seed

void check(int64_t vocabulary, const SamplingOptions& options) {
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
}

std::vector<float> penalised(const float* logits, int64_t vocabulary, float penalty,
                             const std::vector<int32_t>& history) {
  std::vector<float> scores(logits, logits + vocabulary);
  if (penalty == 1.0f) return scores;
  std::vector<bool> seen(scores.size(), false);
  for (const int32_t id : history) {
    require(id >= 0 && id < vocabulary, "ERR_ARGUMENT", "Expected ids from 0 to ", vocabulary - 1,
            " for history but received ", id);
    const auto i = static_cast<size_t>(id);
    if (!seen[i]) scores[i] = scores[i] < 0.0f ? scores[i] * penalty : scores[i] / penalty;
    seen[i] = true;
  }
  return scores;
}

// The largest score's lowest id. Sixteen at a time side by side, which compilers turn into vectors.
int32_t most_likely(const float* scores, int64_t vocabulary) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr int64_t kLanes = 16;
  float most[kLanes];
  int32_t unfit[kLanes] = {};
  std::fill(most, most + kLanes, -kInfinity);
  const auto visit = [&](int64_t lane, float score) {
    most[lane] = score > most[lane] ? score : most[lane];
    unfit[lane] |= score < kInfinity ? 0 : 1;  // NaN too
  };
  int64_t i = 0;
  for (; i + kLanes <= vocabulary; i += kLanes)
    for (int64_t lane = 0; lane < kLanes; ++lane) visit(lane, scores[i + lane]);
  for (; i < vocabulary; ++i) visit(i % kLanes, scores[i]);
  const float top = *std::max_element(most, most + kLanes);
  const bool finite = std::all_of(unfit, unfit + kLanes, [](int32_t count) { return count == 0; });
  require(finite && top > -kInfinity, "ERR_NOT_FINITE",
          "Expected logits that are numbers, at least one of them finite, but received NaN, infinity or -inf alone");
  return static_cast<int32_t>(std::find(scores, scores + vocabulary, top) - scores);
}

// Tokens that may be drawn, ids ascending, and their weights: probability up to a common factor, 1 for the largest.
struct Candidates {
  std::vector<int32_t> ids;
  std::vector<double> weights;

  double total() const {
    double sum = 0.0;
    for (const double weight : weights) sum += weight;
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
  Candidates candidates;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (!(scores[i] >= least)) continue;
    candidates.ids.push_back(static_cast<int32_t>(i));
    candidates.weights.push_back(std::exp((static_cast<double>(scores[i]) - static_cast<double>(most)) /
                                          static_cast<double>(options.temperature)));
  }
  return candidates;
}

// Sorts only as many of the likeliest as it takes to reach top_p: few as a rule.
void keep_top_p(Candidates& candidates, const std::vector<float>& scores, double top_p) {
  const auto score = [&](size_t i) { return scores[static_cast<size_t>(candidates.ids[i])]; };
  const auto likelier = [&](size_t a, size_t b) { return score(a) != score(b) ? score(a) > score(b) : a < b; };
  std::vector<size_t> order(candidates.ids.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  const double enough = top_p * candidates.total();
  std::vector<bool> kept(order.size(), false);
  double above = 0.0;
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

Candidates candidates_for(const float* logits, int64_t vocabulary, const SamplingOptions& options,
                          const std::vector<int32_t>& history) {
  check(vocabulary, options);
  if (options.temperature == 0.0f && options.repetition_penalty == 1.0f)  // as a rule: no copy
    return {{most_likely(logits, vocabulary)}, {1.0}};
  const std::vector<float> scores = penalised(logits, vocabulary, options.repetition_penalty, history);
  const int32_t best = most_likely(scores.data(), vocabulary);
  if (options.temperature == 0.0f) return {{best}, {1.0}};
  Candidates candidates = above_top_k(scores, scores[static_cast<size_t>(best)], options);
  if (options.top_p < 1.0f) keep_top_p(candidates, scores, static_cast<double>(options.top_p));
  if (options.min_p > 0.0f)
    candidates.filter([&](size_t i) { return candidates.weights[i] >= static_cast<double>(options.min_p); });
  return candidates;
}

}  // namespace

int32_t sample_token(const float* logits, int64_t vocabulary, const SamplingOptions& options,
                     const std::vector<int32_t>& history, uint64_t position) {
  const Candidates candidates = candidates_for(logits, vocabulary, options, history);
  if (candidates.ids.size() == 1) return candidates.ids.front();
  const double target = philox_uniform(options.seed, kSamplingStream, position) * candidates.total();
  double cumulative = 0.0;
  int32_t last = candidates.ids.front();
  for (size_t i = 0; i < candidates.ids.size(); ++i) {
    if (candidates.weights[i] == 0.0) continue;  // too unlikely for a double
    cumulative += candidates.weights[i];
    last = candidates.ids[i];
    if (cumulative > target) break;
  }
  return last;
}

std::vector<double> sampling_distribution(const float* logits, int64_t vocabulary, const SamplingOptions& options,
                                          const std::vector<int32_t>& history) {
  const Candidates candidates = candidates_for(logits, vocabulary, options, history);
  const double total = candidates.total();
  std::vector<double> probabilities(static_cast<size_t>(vocabulary), 0.0);
  for (size_t i = 0; i < candidates.ids.size(); ++i)
    probabilities[static_cast<size_t>(candidates.ids[i])] = candidates.weights[i] / total;
  return probabilities;
}

}  // namespace rubricate
