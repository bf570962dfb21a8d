#include "ops/sampling/sampling.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/error.h"
#include "base/random.h"
#include "device/stream.h"
#include "ops/sampling/sampling_kernels.h"
#include "ops/shared/checks.h"

namespace rubricate {
namespace {

constexpr uint64_t kSamplingStream = 0x73616d706c65;  // "sample": separates it from other uses of the same seed

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

// Ids that the penalty applies to, ascending, without duplicates.
std::vector<int32_t> penalised_ids(int64_t vocabulary, float penalty, const std::vector<int32_t>& history) {
  if (penalty == 1.0f) return {};
  std::vector<int32_t> ids = history;
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  for (const int32_t id : ids)
    require(id >= 0 && id < vocabulary, "ERR_ARGUMENT", "Expected ids from 0 to ", vocabulary - 1,
            " for history but received ", id);
  return ids;
}

std::vector<float> penalised(const float* logits, int64_t vocabulary, float penalty,
                             const std::vector<int32_t>& history) {
  std::vector<float> scores(logits, logits + vocabulary);
  for (const int32_t id : penalised_ids(vocabulary, penalty, history)) {
    float& score = scores[static_cast<size_t>(id)];
    score = score < 0.0f ? score * penalty : score / penalty;
  }
  return scores;
}

[[noreturn]] void fail_not_finite() {
  fail("ERR_NOT_FINITE",
       "Expected logits that are numbers, at least one of them finite, but received NaN, +inf or only -inf");
}

FixedProb least_weight(const SamplingOptions& options, int32_t bits) {
  return mass_enough(static_cast<double>(options.min_p), FixedProb{1} << bits);
}

double uniform(const SamplingOptions& options, uint64_t position) {
  return philox_uniform(options.seed, kSamplingStream, position);
}

// The lowest id with the largest score. Sixteen independent lanes, which compilers vectorize.
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
  if (!finite || !(top > -kInfinity)) fail_not_finite();
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

Candidates candidates_for(const float* logits, int64_t vocabulary, const SamplingOptions& options,
                          const std::vector<int32_t>& history) {
  check(vocabulary, options);
  if (options.temperature == 0.0f && options.repetition_penalty == 1.0f)  // the usual case: no copy
    return {{most_likely(logits, vocabulary)}, {1}};
  const std::vector<float> scores = penalised(logits, vocabulary, options.repetition_penalty, history);
  const int32_t best = most_likely(scores.data(), vocabulary);
  if (options.temperature == 0.0f) return {{best}, {1}};
  Candidates candidates = above_top_k(scores, scores[static_cast<size_t>(best)], options);
  if (options.top_p < 1.0f) keep_top_p(candidates, scores, static_cast<double>(options.top_p));
  const FixedProb least = least_weight(options, weight_bits(vocabulary));
  if (least > 0) candidates.filter([&](size_t i) { return candidates.weights[i] >= least; });
  return candidates;
}

}  // namespace

int32_t sample_token(const float* logits, int64_t vocabulary, const SamplingOptions& options,
                     const std::vector<int32_t>& history, uint64_t position) {
  const Candidates candidates = candidates_for(logits, vocabulary, options, history);
  const FixedProb drawn = mass_drawn(uniform(options, position), candidates.total());
  FixedProb cumulative = 0;
  for (size_t i = 0; i < candidates.ids.size(); ++i) {
    cumulative += candidates.weights[i];
    if (cumulative > drawn) return candidates.ids[i];
  }
  fail("ERR_INTERNAL", "Expected a token for every draw");
}

namespace {

// The requests in the form that a device needs, and the passes that any of them needs.
struct DeviceRequests {
  std::vector<SamplingRow> rows;
  std::vector<SamplingPenalty> penalties;
  bool draws = false, top_k = false, top_p = false;

  DeviceRequests(int64_t vocabulary, const std::vector<SampleRequest>& requests) {
    for (const SampleRequest& request : requests) {
      const SamplingOptions& options = request.options;
      check(vocabulary, options);
      for (const int32_t id : penalised_ids(vocabulary, options.repetition_penalty, request.history))
        penalties.push_back({static_cast<int32_t>(rows.size()), id, options.repetition_penalty});
      SamplingRow row;
      if (options.temperature > 0.0f)
        row = {options.temperature, options.top_k < vocabulary ? options.top_k : 0, static_cast<double>(options.top_p),
               least_weight(options, weight_bits(vocabulary)), uniform(options, request.position)};
      draws = draws || row.temperature > 0.0f;
      top_k = top_k || row.top_k > 0;
      top_p = top_p || row.top_p < 1.0;
      rows.push_back(row);
    }
  }
};

std::vector<int32_t> sample_on_device(Tape& tape, const Tensor& logits, const DeviceRequests& requests) {
  SampleArgs args;
  args.rows = logits.rows();
  args.vocabulary = logits.cols();
  args.part = sample_part(args.vocabulary);
  args.parts = sample_parts(args.vocabulary);
  args.logits = logits.data<float>();
  const auto uploaded = [&](const auto& values) {
    return tape.upload(values.data(), static_cast<int64_t>(values.size() * sizeof(values[0])));
  };
  const Tensor rows = uploaded(requests.rows);
  args.options = static_cast<const SamplingRow*>(rows.raw());
  Tensor penalties;
  if (!requests.penalties.empty()) penalties = uploaded(requests.penalties);
  args.penalties = static_cast<const SamplingPenalty*>(penalties.raw());
  args.penalised = static_cast<int64_t>(requests.penalties.size());
  args.bits = weight_bits(args.vocabulary);
  args.draws = requests.draws;
  args.top_k = requests.top_k;
  args.top_p = requests.top_p;
  const SamplePlan plan(args.rows, args.vocabulary, requests.draws, requests.top_k || requests.top_p);
  const Tensor workspace = tape.empty({(plan.bytes + 3) / 4}, DType::i32);
  auto* const begin = static_cast<char*>(workspace.raw());
  args.bests = reinterpret_cast<SamplingBest*>(begin);
  args.histograms = reinterpret_cast<FixedProb*>(begin + plan.histograms);
  args.in_parts = reinterpret_cast<SamplingPart*>(begin + plan.in_parts);
  args.ids = reinterpret_cast<int32_t*>(begin + plan.ids);
  tape.stream()->fill(begin, 0, plan.zeros());
  tape.stream()->run("sample/1", args);
  std::vector<int32_t> ids(requests.rows.size());
  tape.stream()->download(ids.data(), args.ids, args.rows * static_cast<int64_t>(sizeof(int32_t)));
  for (const int32_t id : ids)
    if (id < 0) fail_not_finite();
  return ids;
}

}  // namespace

std::vector<int32_t> sample_tokens(Tape& tape, const Tensor& logits, const std::vector<SampleRequest>& requests) {
  tape.check_cancelled("sample_tokens");
  require(logits.defined() && logits.dtype() == DType::f32, "ERR_DTYPE", "Expected a tensor of float32 for logits");
  require(logits.rank() == 2 && logits.dim(0) == static_cast<int64_t>(requests.size()), "ERR_SHAPE", "Expected shape [",
          requests.size(), ", vocabulary] for logits but received ", shape_text(logits.shape()));
  require_place(tape, logits, "logits");
  if (requests.empty()) return {};
  const int64_t vocabulary = logits.cols();
  if (tape.stream() != nullptr) return sample_on_device(tape, logits, DeviceRequests(vocabulary, requests));
  std::vector<int32_t> ids;
  for (const SampleRequest& request : requests)
    ids.push_back(sample_token(logits.data<float>() + static_cast<int64_t>(ids.size()) * vocabulary, vocabulary,
                               request.options, request.history, request.position));
  return ids;
}

std::vector<double> sampling_distribution(const float* logits, int64_t vocabulary, const SamplingOptions& options,
                                          const std::vector<int32_t>& history) {
  const Candidates candidates = candidates_for(logits, vocabulary, options, history);
  const auto total = static_cast<double>(candidates.total());
  std::vector<double> probabilities(static_cast<size_t>(vocabulary), 0.0);
  for (size_t i = 0; i < candidates.ids.size(); ++i)
    probabilities[static_cast<size_t>(candidates.ids[i])] = static_cast<double>(candidates.weights[i]) / total;
  return probabilities;
}

}  // namespace rubricate
