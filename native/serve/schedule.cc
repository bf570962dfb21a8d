#include "serve/schedule.h"

#include <algorithm>

namespace rubricate {
namespace {

double smoothed(double before, double now) { return before == 0.0 ? now : before + 0.2 * (now - before); }

}  // namespace

void StepTimes::add(int64_t decoding, int64_t prompt, int64_t ns) {
  const auto time = static_cast<double>(std::max<int64_t>(ns, 1));
  if (prompt == 0) {
    decode_ns_ = smoothed(decode_ns_, time);
    return;
  }
  const double decode = decoding > 0 ? std::min(decode_ns_, time) : 0.0;
  row_ns_ = smoothed(row_ns_, (time - decode) / static_cast<double>(prompt));
}

int64_t StepTimes::chunk(int64_t decoding, int64_t step_ns) const {
  if (decoding == 0) return kMostChunk;
  if (row_ns_ <= 0.0) return kLeastChunk;
  const double room = (static_cast<double>(step_ns) - decode_ns_) / row_ns_;
  return static_cast<int64_t>(std::clamp(room, static_cast<double>(kLeastChunk), static_cast<double>(kMostChunk)));
}

std::vector<int64_t> planned_rows(const std::vector<Runnable>& runnable, int32_t group, int64_t chunk, int64_t most) {
  std::vector<int64_t> rows(runnable.size(), 0);
  int64_t total = 0;
  for (size_t i = 0; i < runnable.size() && total < most; ++i) {
    if (runnable[i].group != group || runnable[i].pending != 1) continue;
    rows[i] = 1;
    ++total;
  }
  for (size_t i = 0; i < runnable.size(); ++i) {
    if (runnable[i].group != group || runnable[i].pending == 1) continue;
    rows[i] = std::min({runnable[i].pending, chunk, most - total});
    chunk -= rows[i];
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
