#include "serve/schedule.h"

#include <algorithm>

namespace rubricate {
namespace {

// Takes rows of a prompt out of `room`, at most `most`, but `least` even if they do not fit.
int64_t take_rows(const Runnable& one, int64_t least, int64_t most, double score_cost, double& room) {
  int64_t rows = 0;
  for (; rows < std::min(one.pending, most); ++rows) {
    const double cost = rows >= one.score_begin && rows < one.score_end ? score_cost : 1.0;
    if (rows >= least && room < cost) break;
    room = std::max(0.0, room - cost);
  }
  return rows;
}

double smoothed(double before, double now) { return before == 0.0 ? now : before + 0.2 * (now - before); }

}  // namespace

double score_cost(const Architecture& architecture) {
  const auto& [layers, norm, position, attention, feed_forward] = architecture.stack;
  const auto hidden = static_cast<double>(architecture.hidden);
  const auto heads = static_cast<double>(2 * (attention.heads + attention.kv_heads) * attention.head_dim);
  const double blocks = static_cast<double>(layers) * hidden * (heads + 3.0 * static_cast<double>(feed_forward.size));
  return 1.0 + static_cast<double>(architecture.vocabulary) * hidden / blocks;
}

void StepTimes::add(int64_t decoding, double prompt, int64_t ns) {
  const auto time = static_cast<double>(std::max<int64_t>(ns, 1));
  if (prompt == 0.0) {
    decode_ns_ = smoothed(decode_ns_, time);
    return;
  }
  const double decode = decoding > 0 ? std::min(decode_ns_, time) : 0.0;
  row_ns_ = smoothed(row_ns_, (time - decode) / prompt);
}

int64_t StepTimes::chunk(int64_t decoding, int64_t step_ns) const {
  if (decoding == 0) return kMostChunk;
  if (row_ns_ <= 0.0) return kLeastChunk;
  const double room = (static_cast<double>(step_ns) - decode_ns_) / row_ns_;
  return static_cast<int64_t>(std::clamp(room, static_cast<double>(kLeastChunk), static_cast<double>(kMostChunk)));
}

std::vector<int64_t> planned_rows(const std::vector<Runnable>& runnable, int32_t group, int64_t chunk, int64_t most,
                                  double score_cost) {
  std::vector<int64_t> rows(runnable.size(), 0);
  auto room = static_cast<double>(chunk);
  bool empty = true;  // the chunk
  int64_t total = 0;
  for (size_t i = 0; i < runnable.size() && total < most; ++i) {
    if (runnable[i].group != group || runnable[i].pending != 1) continue;
    rows[i] = 1;
    ++total;
  }
  for (size_t i = 0; i < runnable.size(); ++i) {
    if (runnable[i].group != group || runnable[i].pending == 1) continue;
    rows[i] = take_rows(runnable[i], empty ? 1 : 0, most - total, score_cost, room);
    empty = empty && rows[i] == 0;
    total += rows[i];
  }
  return rows;
}

int32_t next_group(const std::vector<Runnable>& runnable, int32_t last) {
  int32_t after = INT32_MAX, least = INT32_MAX;
  for (const Runnable& one : runnable) {
    least = std::min(least, one.group);
    if (one.group > last) after = std::min(after, one.group);
  }
  return after != INT32_MAX ? after : least;
}

}  // namespace rubricate
