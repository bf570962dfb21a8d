// The examples of one forward and backward, which of their rows carry loss, and the sums that these give.
#pragma once

#include <cstdint>
#include <vector>

#include "model/batch.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace rubricate {

// A batch with its targets, which obey all rules.
class MicroBatch {
 public:
  // targets [T]: id of the next token, or -1 where no loss counts. Errors: ERR_ARGUMENT.
  MicroBatch(Batch batch, std::vector<int32_t> targets);
  const Batch& batch() const { return batch_; }
  const std::vector<int32_t>& targets() const { return targets_; }

 private:
  Batch batch_;
  std::vector<int32_t> targets_;
};

// The rows of a micro-batch that carry loss.
struct Supervised {
  std::vector<int32_t> rows, targets, slots;
  std::vector<float> weights;
  LossRows loss_rows() const {
    return {static_cast<int64_t>(rows.size()), rows.data(), targets.data(), weights.data()};
  }
};

// slot_weight: of each row's loss, by slot.
Supervised supervised_rows(const MicroBatch& micro, const std::vector<double>& slot_weight);

// Supervised tokens by slot: of the base without edit, then of each adapter. Errors: ERR_FOREIGN for a batch that was
// made for other bounds.
std::vector<int64_t> count_supervised(const std::vector<MicroBatch>& micro_batches, const BatchBounds& bounds);

// Sums (not means) of nats per slot; index 0 is the base without edit.
struct SlotSums {
  explicit SlotSums(size_t slots) : nats(slots, 0.0), supervised(slots, 0), correct(slots, 0) {}
  void add(const Supervised& rows, const CrossEntropy& result);

  std::vector<double> nats;
  std::vector<int64_t> supervised, correct;
};

}  // namespace rubricate
