#include "train/micro_batch.h"

#include "base/error.h"

namespace rubricate {

Supervised supervised_rows(const MicroBatch& batch, const std::vector<double>& slot_weight, int64_t vocabulary) {
  require(batch.targets.size() == batch.tokens.size(), "ERR_ARGUMENT", "Expected one target for each of ",
          batch.tokens.size(), " tokens but received ", batch.targets.size());
  require(batch.starts.size() >= 2, "ERR_ARGUMENT", "Expected at least one sequence but received none");
  Supervised supervised;
  for (size_t s = 0; s + 1 < batch.starts.size(); ++s) {
    const int32_t slot = batch.slots.empty() ? 0 : batch.slots.at(s);
    for (int32_t row = batch.starts[s]; row < batch.starts[s + 1]; ++row) {
      const int32_t target = batch.targets.at(static_cast<size_t>(row));
      if (target < 0) continue;
      require(target < vocabulary, "ERR_ARGUMENT", "Expected targets below ", vocabulary, " but received ", target);
      supervised.rows.push_back(row);
      supervised.targets.push_back(target);
      supervised.slots.push_back(slot);
      supervised.weights.push_back(static_cast<float>(slot_weight.at(static_cast<size_t>(slot))));
    }
  }
  return supervised;
}

std::vector<int64_t> count_supervised(const std::vector<MicroBatch>& micro_batches, size_t slots) {
  std::vector<int64_t> counts(slots, 0);
  for (const MicroBatch& batch : micro_batches) {
    require(batch.starts.size() >= 2 && batch.targets.size() == batch.tokens.size() &&
                batch.starts.back() == static_cast<int64_t>(batch.tokens.size()),
            "ERR_ARGUMENT", "Expected sequence starts and targets that fit the tokens");
    for (size_t s = 0; s + 1 < batch.starts.size(); ++s) {
      const int32_t slot = batch.slots.empty() ? 0 : batch.slots.at(s);
      require(slot >= 0 && slot < static_cast<int64_t>(slots), "ERR_ARGUMENT", "Expected slots from 0 to ", slots - 1,
              " but received ", slot);
      for (int32_t row = batch.starts[s]; row < batch.starts[s + 1]; ++row)
        counts[static_cast<size_t>(slot)] += batch.targets.at(static_cast<size_t>(row)) >= 0;
    }
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
