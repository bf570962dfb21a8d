// The examples of one forward and backward, the rows whose loss counts, and the loss sums of those rows.
#pragma once

#include <cstdint>
#include <vector>

#include "model/batch.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "runtime/job_control.h"

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

// How sequences are split into micro-batches. Splits change no bits of an adapter's training: its gradient is summed over its
// sequences in their order. (On AVX-512-BF16 those of the model's own weights depend on the split.)
struct Split {
  int64_t max_rows = 0;        // most rows of a micro-batch; a longer sequence goes alone. 0: no limit
  bool joins = false;          // whether a micro-batch may have sequences of several of those given
  std::vector<bool> left_out;  // by slot: skip its sequences; may be shorter than the slots
};
// The sequences in their order. bounds: of the call; the given micro-batches are within.
std::vector<MicroBatch> split_again(const std::vector<MicroBatch>& micro_batches, const Split& split,
                                    const BatchBounds& bounds);
// The rows of a micro-batch of a job. While shorter jobs are under way at most 256 on the CPU, so that every op is short.
// Elsewhere the host runs ahead of the device, and its matmuls' bits may depend on the rows (RUBRICATE_MATMUL). 0: no limit.
int64_t most_rows(int64_t max_rows, const JobControl& control);

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
