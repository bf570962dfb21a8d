#include "ops/sampling/log_probs.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "device/stream.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/cross_entropy/cross_entropy_kernels.h"
#include "ops/sampling/log_probs_kernels.h"
#include "ops/shared/checks.h"

namespace rubricate {
namespace {

// A loss as cross_entropy rounds it, with its sign changed; 0 rather than -0.
float log_prob_of(double loss) { return 0.0f - static_cast<float>(loss); }

// The ids of the `count` largest logits, the largest first; of equal ones the lower id.
std::vector<int32_t> largest(const float* logits, int64_t vocabulary, int32_t count) {
  const auto above = [&](int32_t a, int32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; };
  std::vector<int32_t> heap;  // its front is the least of those kept
  const auto wanted = static_cast<size_t>(std::min<int64_t>(count, vocabulary));
  for (int32_t id = 0; id < vocabulary && wanted > 0; ++id) {
    if (heap.size() == wanted) {
      if (!above(id, heap.front())) continue;
      std::pop_heap(heap.begin(), heap.end(), above);
      heap.pop_back();
    }
    heap.push_back(id);
    std::push_heap(heap.begin(), heap.end(), above);
  }
  std::sort_heap(heap.begin(), heap.end(), above);
  return heap;
}

std::vector<LogProbs> on_cpu(const Tensor& logits, const std::vector<LogProbRequest>& requests) {
  const int64_t vocabulary = logits.cols();
  std::vector<int64_t> rows;
  for (const LogProbRequest& request : requests) rows.push_back(request.row);
  std::vector<double> log_sums(rows.size());
  const auto count = static_cast<int64_t>(rows.size());
  log_sums_cpu({count, vocabulary, logits.data<float>(), rows.data(), log_sums.data()});
  std::vector<LogProbs> results(requests.size());
  parallel_ranges(count, row_grain(vocabulary), [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      const float* const z = logits.data<float>() + rows[i] * vocabulary;
      const auto log_prob = [&](int32_t id) { return log_prob_of(log_sums[i] - static_cast<double>(z[id])); };
      results[i].chosen = log_prob(requests[i].chosen);
      if (!std::isfinite(log_sums[i])) continue;
      for (const int32_t id : largest(z, vocabulary, requests[i].top)) results[i].top.push_back({id, log_prob(id)});
    }
  });
  return results;
}

// Log-probabilities of the targets, each in its row of device memory.
std::vector<float> row_log_probs(Tape& tape, const float* logits, int64_t vocabulary,
                                 const std::vector<int32_t>& targets) {
  const auto rows = static_cast<int64_t>(targets.size());
  const Tensor placed = tape.upload(targets.data(), rows * static_cast<int64_t>(sizeof(int32_t)));
  const Tensor losses = tape.empty({rows, int64_t{sizeof(double) / 4}}, DType::i32);
  RowLossArgs args;
  args.rows = rows;
  args.vocabulary = vocabulary;
  args.logits = logits;
  args.targets = static_cast<const int32_t*>(placed.raw());
  args.loss = static_cast<double*>(losses.raw());
  tape.stream()->run("row_loss/1", args);
  std::vector<double> values(targets.size());
  tape.stream()->download(values.data(), losses.raw(), rows * static_cast<int64_t>(sizeof(double)));
  std::vector<float> log_probs;
  for (const double loss : values) log_probs.push_back(log_prob_of(loss));
  return log_probs;
}

// The likeliest tokens of a row: found here, and their losses formed there on copies of the row.
std::vector<TokenLogProb> top_on_device(Tape& tape, const Tensor& logits, const LogProbRequest& request) {
  const int64_t vocabulary = logits.cols();
  const float* const row = logits.data<float>() + request.row * vocabulary;
  std::vector<float> here(static_cast<size_t>(vocabulary));
  tape.stream()->download(here.data(), row, vocabulary * static_cast<int64_t>(sizeof(float)));
  const std::vector<int32_t> ids = largest(here.data(), vocabulary, request.top);
  const auto count = static_cast<int64_t>(ids.size());
  const std::vector<int32_t> sources(ids.size(), request.row);
  const Tensor placed = tape.upload(sources.data(), count * static_cast<int64_t>(sizeof(int32_t)));
  const Tensor copies = tape.empty({count, vocabulary}, DType::f32);
  tape.stream()->run("copy_rows/1", CopyRowsArgs{.from = logits.raw(),
                                                 .to = copies.raw(),
                                                 .rows = static_cast<const int32_t*>(placed.raw()),
                                                 .count = count,
                                                 .row_bytes = vocabulary * static_cast<int64_t>(sizeof(float))});
  const std::vector<float> log_probs = row_log_probs(tape, copies.data<float>(), vocabulary, ids);
  std::vector<TokenLogProb> top;
  for (size_t i = 0; i < ids.size(); ++i) top.push_back({ids[i], log_probs[i]});
  return top;
}

std::vector<LogProbs> on_device(Tape& tape, const Tensor& logits, const std::vector<LogProbRequest>& requests) {
  std::vector<LogProbs> results(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    const float* const row = logits.data<float>() + requests[i].row * logits.cols();
    results[i].chosen = row_log_probs(tape, row, logits.cols(), {requests[i].chosen})[0];
    if (requests[i].top > 0 && !std::isnan(results[i].chosen))
      results[i].top = top_on_device(tape, logits, requests[i]);
  }
  return results;
}

// The log-probabilities of targets alone: those of the requests `which`.
void score_plain(Tape& tape, const Tensor& x, const Weight& head, const std::vector<LogProbRequest>& requests,
                 const std::vector<size_t>& which, std::vector<LogProbs>& results) {
  if (which.empty()) return;
  std::vector<int32_t> rows, targets;
  for (const size_t i : which) {
    rows.push_back(requests[i].row);
    targets.push_back(requests[i].chosen);
  }
  const std::vector<float> weights(which.size(), 1.0f);
  const CrossEntropy scored = head_cross_entropy(
      tape, x, head, {static_cast<int64_t>(which.size()), rows.data(), targets.data(), weights.data()});
  for (size_t i = 0; i < which.size(); ++i) results[which[i]].chosen = 0.0f - scored.row_loss[i];
}

}  // namespace

std::vector<LogProbs> log_probs_of(Tape& tape, const Tensor& logits, const std::vector<LogProbRequest>& requests) {
  tape.check_cancelled("log_probs_of");
  require(logits.defined() && logits.dtype() == DType::f32, "ERR_DTYPE", "Expected a tensor of float32 for logits");
  require(logits.rank() == 2 && logits.cols() >= 1, "ERR_SHAPE",
          "Expected shape [rows, vocabulary] for logits but received ", shape_text(logits.shape()));
  require_place(tape, logits, "logits");
  for (const LogProbRequest& request : requests) {
    const auto within = [](int64_t value, int64_t most, const char* name) {
      require(value >= 0 && value <= most, "ERR_ARGUMENT", "Expected an integer from 0 to ", most, " for ", name,
              " but received ", value);
    };
    within(request.row, logits.rows() - 1, "row");
    within(request.chosen, logits.cols() - 1, "chosen");
    within(request.top, kMostTopLogProbs, "top");
  }
  return tape.stream() != nullptr ? on_device(tape, logits, requests) : on_cpu(logits, requests);
}

std::vector<LogProbs> score_rows(Tape& tape, const Tensor& x, const Weight& head,
                                 const std::vector<LogProbRequest>& requests) {
  std::vector<LogProbs> results(requests.size());
  std::vector<size_t> plain, topped;  // requests without and with the likeliest tokens, which need whole logits
  for (size_t i = 0; i < requests.size(); ++i) (requests[i].top == 0 ? plain : topped).push_back(i);
  score_plain(tape, x, head, requests, plain, results);
  const auto chunk = static_cast<size_t>(head_rows_per_chunk(head.view.rows));
  for (size_t begin = 0; begin < topped.size(); begin += chunk) {
    tape.yield();
    std::vector<int32_t> rows;
    std::vector<LogProbRequest> own;
    for (size_t i = begin; i < std::min(begin + chunk, topped.size()); ++i) {
      const LogProbRequest& request = requests[topped[i]];
      own.push_back({static_cast<int32_t>(rows.size()), request.chosen, request.top});
      rows.push_back(request.row);
    }
    const Tensor logits = head_logits(tape, x, head, static_cast<int64_t>(rows.size()), rows.data());
    tape.yield();
    std::vector<LogProbs> told = log_probs_of(tape, logits, own);
    for (size_t i = 0; i < told.size(); ++i) results[topped[begin + i]] = std::move(told[i]);
  }
  return results;
}

}  // namespace rubricate
