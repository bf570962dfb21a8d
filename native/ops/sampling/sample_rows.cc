#include <algorithm>
#include <cstring>
#include <limits>

#include "device/stream.h"
#include "ops/sampling/sampling.h"
#include "ops/sampling/sampling_row.h"
#include "ops/shared/checks.h"

namespace rubricate {
namespace {

// The requests in the form that a device needs, and the passes that any of them needs.
struct DeviceRequests {
  std::vector<SamplingRow> rows;
  std::vector<SamplingChange> changes;  // biases, then penalties
  int64_t biased = 0;
  bool draws = false, top_k = false, top_p = false;

  DeviceRequests(int64_t vocabulary, const std::vector<SampleRequest>& requests) {
    const auto changes_of_row = [&](size_t row) {
      return [this, row](SamplingChange change) {
        change.row = static_cast<int32_t>(row);
        changes.push_back(change);
      };
    };
    for (size_t row = 0; row < requests.size(); ++row) each_bias(requests[row].options, changes_of_row(row));
    biased = static_cast<int64_t>(changes.size());
    for (size_t row = 0; row < requests.size(); ++row)
      each_penalty(vocabulary, requests[row].options, requests[row].counts, changes_of_row(row));
    for (const SampleRequest& request : requests) {
      const SamplingOptions& options = request.options;
      SamplingRow row;
      if (options.temperature > 0.0f)
        row = {options.temperature, options.top_k < vocabulary ? options.top_k : 0, static_cast<double>(options.top_p),
               least_weight(options, weight_bits(vocabulary)), uniform_of(options, request.position)};
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
  Tensor changes;
  if (!requests.changes.empty()) changes = uploaded(requests.changes);
  args.changes = static_cast<const SamplingChange*>(changes.raw());
  args.biased = requests.biased;
  args.penalised = static_cast<int64_t>(requests.changes.size()) - requests.biased;
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
  tape.stream()->run("sample/2", args);
  std::vector<int32_t> ids(requests.rows.size());
  tape.stream()->download(ids.data(), args.ids, args.rows * static_cast<int64_t>(sizeof(int32_t)));
  return ids;
}

std::vector<int32_t> sample_on_cpu(const Tensor& logits, const std::vector<SampleRequest>& requests) {
  const int64_t vocabulary = logits.cols();
  std::vector<int32_t> ids(requests.size());
  parallel_ranges(logits.rows(), row_grain(vocabulary), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const SampleRequest& request = requests[static_cast<size_t>(row)];
      ids[static_cast<size_t>(row)] = sample_finite(logits.data<float>() + row * vocabulary, vocabulary,
                                                    request.options, request.counts, request.position);
    }
  });
  return ids;
}

void check(const Tape& tape, const Tensor& logits, const std::vector<SampleRequest>& requests) {
  require(logits.defined() && logits.dtype() == DType::f32, "ERR_DTYPE", "Expected a tensor of float32 for logits");
  require(logits.rank() == 2 && logits.dim(0) == static_cast<int64_t>(requests.size()), "ERR_SHAPE", "Expected shape [",
          requests.size(), ", vocabulary] for logits but received ", shape_text(logits.shape()));
  require_place(tape, logits, "logits");
  for (const SampleRequest& request : requests) {
    check_sampling(logits.cols(), request.options);
    require(!request.options.counts() || request.counts != nullptr, "ERR_INTERNAL",
            "Expected counts of tokens for a penalty but received none");
    require(request.top_log_probs >= -1 && request.top_log_probs <= kMostTopLogProbs, "ERR_ARGUMENT",
            "Expected an integer from 0 to ", kMostTopLogProbs, " for topLogProbabilities but received ",
            request.top_log_probs);
  }
}

}  // namespace

std::vector<SampledToken> sample_rows(Tape& tape, const Tensor& logits, const std::vector<SampleRequest>& requests) {
  tape.check_cancelled("sample_rows");
  check(tape, logits, requests);
  if (requests.empty()) return {};
  std::vector<int32_t> ids;
  Tensor before = logits;  // before bias and penalties
  if (tape.stream() == nullptr) {
    ids = sample_on_cpu(logits, requests);
  } else {
    const DeviceRequests all(logits.cols(), requests);
    const bool log_probs = std::any_of(requests.begin(), requests.end(),
                                       [](const SampleRequest& request) { return request.top_log_probs >= 0; });
    if (log_probs && !all.changes.empty()) before = logits.copied_to(tape.arena());
    ids = sample_on_device(tape, logits, all);
  }
  std::vector<SampledToken> sampled(ids.size());
  std::vector<LogProbRequest> wanted;
  for (size_t row = 0; row < ids.size(); ++row) {
    sampled[row].id = ids[row];
    if (requests[row].top_log_probs >= 0 && ids[row] >= 0)
      wanted.push_back({static_cast<int32_t>(row), ids[row], requests[row].top_log_probs});
  }
  std::vector<LogProbs> found = log_probs_of(tape, before, wanted);
  for (size_t i = 0; i < wanted.size(); ++i)
    sampled[static_cast<size_t>(wanted[i].row)].log_probs = std::move(found[i]);
  return sampled;
}

}  // namespace rubricate
