// The examples of one forward and backward, which of their rows carry loss, and the sums that these give.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/cross_entropy/cross_entropy.h"

namespace rubricate {

struct MicroBatch {
  std::vector<int32_t> tokens, starts, slots;
  std::vector<int32_t> targets;  // [T]: id of the next token, or -1 where no loss counts
};

// The rows of a micro-batch that carry loss.
struct Supervised {
  std::vector<int32_t> rows, targets, slots;
  std::vector<float> weights;
  LossRows loss_rows() const {
    return {static_cast<int64_t>(rows.size()), rows.data(), targets.data(), weights.data()};
  }
};

// slot_weight: of each row's loss, by slot. Errors: ERR_ARGUMENT for targets that do not fit.
Supervised supervised_rows(const MicroBatch& batch, const std::vector<double>& slot_weight, int64_t vocabulary);

// Supervised tokens by slot. Errors: ERR_ARGUMENT for starts, targets or slots that do not fit.
std::vector<int64_t> count_supervised(const std::vector<MicroBatch>& micro_batches, size_t slots);

// Sums (not means) of nats per slot; index 0 is the base without edit.
struct SlotSums {
  explicit SlotSums(size_t slots) : nats(slots, 0.0), supervised(slots, 0), correct(slots, 0) {}
  void add(const Supervised& rows, const CrossEntropy& result);

  std::vector<double> nats;
  std::vector<int64_t> supervised, correct;
};

}  // namespace rubricate
