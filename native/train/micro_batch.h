// The examples of one forward and backward, the rows whose loss counts, and the loss sums of those rows.
#pragma once

#include <cstdint>
#include <vector>

#include "model/batch.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace rubricate {

// A batch and its targets, both checked.
class MicroBatch {
 public:
  // targets [T]: id of the next token, or -1 for rows without loss. Errors: ERR_ARGUMENT.
  MicroBatch(Batch batch, std::vector<int32_t> targets);
  const Batch& batch() const { return batch_; }
  const std::vector<int32_t>& targets() const { return targets_; }

 private:
  Batch batch_;
  std::vector<int32_t> targets_;
};

// The rows of a micro-batch whose loss counts.
struct Supervised {
  std::vector<int32_t> rows, targets, slots;
  std::vector<float> weights;
  LossRows loss_rows() const {
    return {static_cast<int64_t>(rows.size()), rows.data(), targets.data(), weights.data()};
  }
};

// slot_weight: by slot, the weight of each row's loss.
Supervised supervised_rows(const MicroBatch& micro, const std::vector<double>& slot_weight);

// Number of supervised tokens by slot: the base (slot 0), then each adapter. Throws ERR_FOREIGN for a batch that was
// made for larger bounds.
std::vector<int64_t> count_supervised(const std::vector<MicroBatch>& micro_batches, const BatchBounds& bounds);

// Loss sums (not means) in nats by slot; index 0 is the base.
struct SlotSums {
  explicit SlotSums(size_t slots) : nats(slots, 0.0), supervised(slots, 0), correct(slots, 0) {}
  void add(const Supervised& rows, const CrossEntropy& result);

  std::vector<double> nats;
  std::vector<int64_t> supervised, correct;
};

}  // namespace rubricate
