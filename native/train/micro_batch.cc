#include "train/micro_batch.h"

#include <algorithm>

#include "base/error.h"

namespace rubricate {
namespace {

// Calls body(slot, row, target) for each row whose loss counts.
template <typename Body>
void for_each_supervised(const MicroBatch& micro, Body&& body) {
  const Batch& batch = micro.batch();
  for (size_t s = 0; s < batch.slots().size(); ++s)
    for (int32_t row = batch.starts()[s]; row < batch.starts()[s + 1]; ++row)
      if (const int32_t target = micro.targets()[static_cast<size_t>(row)]; target >= 0)
        body(batch.slots()[s], row, target);
}

// A micro-batch under construction.
struct Group {
  BatchArrays arrays{{}, {0}, {}, {}};
  std::vector<int32_t> targets;

  int64_t rows() const { return static_cast<int64_t>(targets.size()); }
  void add(const MicroBatch& micro, size_t sequence) {
    const Batch& batch = micro.batch();
    const auto begin = batch.starts()[sequence], end = batch.starts()[sequence + 1];
    arrays.tokens.insert(arrays.tokens.end(), batch.tokens().begin() + begin, batch.tokens().begin() + end);
    targets.insert(targets.end(), micro.targets().begin() + begin, micro.targets().begin() + end);
    arrays.starts.push_back(static_cast<int32_t>(arrays.tokens.size()));
    arrays.slots.push_back(batch.slots()[sequence]);
  }
};

}  // namespace

std::vector<MicroBatch> split_again(const std::vector<MicroBatch>& micro_batches, const Split& split,
                                    const BatchBounds& bounds) {
  std::vector<MicroBatch> result;
  Group group;
  const auto close = [&] {
    if (group.rows() > 0) result.emplace_back(Batch(std::move(group.arrays), bounds), std::move(group.targets));
    group = {};
  };
  for (const MicroBatch& micro : micro_batches) {
    if (!split.joins) close();
    const Batch& batch = micro.batch();
    for (size_t s = 0; s < batch.slots().size(); ++s) {
      const auto slot = static_cast<size_t>(batch.slots()[s]);
      if (slot < split.left_out.size() && split.left_out[slot]) continue;
      const int64_t rows = group.rows() + batch.starts()[s + 1] - batch.starts()[s];
      if (split.max_rows > 0 && rows > split.max_rows) close();
      group.add(micro, s);
    }
  }
  close();
  return result;
}

int64_t most_rows(int64_t max_rows, const JobControl& control) {
  constexpr int64_t kShared = 256;  // packing the weights four times as often as with 1,024 rows costs 6 %
  const bool shares = control.arena->stream() == nullptr && control.wanted && control.wanted();
  if (!shares) return max_rows;
  return max_rows > 0 ? std::min(max_rows, kShared) : kShared;
}

MicroBatch::MicroBatch(Batch batch, std::vector<int32_t> targets)
    : batch_(std::move(batch)), targets_(std::move(targets)) {
  require(static_cast<int64_t>(targets_.size()) == batch_.rows(), "ERR_ARGUMENT", "Expected one target for each of ",
          batch_.rows(), " tokens but received ", targets_.size());
  const int64_t vocabulary = batch_.bounds().vocabulary;
  for (size_t t = 0; t < targets_.size(); ++t)
    require(targets_[t] >= -1 && targets_[t] < vocabulary, "ERR_ARGUMENT", "Expected targets from -1 to ",
            vocabulary - 1, " but received ", targets_[t], " at position ", t);
}

Supervised supervised_rows(const MicroBatch& micro, const std::vector<double>& slot_weight) {
  Supervised supervised;
  for_each_supervised(micro, [&](int32_t slot, int32_t row, int32_t target) {
    supervised.rows.push_back(row);
    supervised.targets.push_back(target);
    supervised.slots.push_back(slot);
    supervised.weights.push_back(static_cast<float>(slot_weight[static_cast<size_t>(slot)]));
  });
  return supervised;
}

std::vector<int64_t> count_supervised(const std::vector<MicroBatch>& micro_batches, const BatchBounds& bounds) {
  std::vector<int64_t> counts(static_cast<size_t>(bounds.adapters) + 1, 0);
  for (const MicroBatch& micro : micro_batches) {
    micro.batch().require_within(bounds);
    for_each_supervised(micro, [&](int32_t slot, int32_t, int32_t) { ++counts[static_cast<size_t>(slot)]; });
  }
  return counts;
}

void SlotSums::add(const Supervised& rows, const CrossEntropy& result) {
  for (size_t r = 0; r < rows.rows.size(); ++r) {
    const auto slot = static_cast<size_t>(rows.slots[r]);
    nats[slot] += static_cast<double>(result.row_loss[r]);
    supervised[slot] += 1;
    correct[slot] += result.row_correct[r];
  }
}

}  // namespace rubricate
