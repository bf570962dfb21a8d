#include "train/evaluate.h"

#include "adapter/red_batch.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace rubricate {

SlotSums evaluate(const Model& model, const std::vector<std::shared_ptr<RedAdapter>>& adapters,
                  const std::vector<MicroBatch>& micro_batches, const JobControl& control) {
  const size_t slots = adapters.size() + 1;
  const BatchBounds bounds = BatchBounds::of(model.architecture(), adapters.size());
  const RedBatch edits(model.architecture(), adapters, false, control.arena);
  SlotSums sums(slots);
  for (const MicroBatch& micro : micro_batches) {
    micro.batch().require_within(bounds);
    const Supervised supervised = supervised_rows(micro, std::vector<double>(slots, 1.0));
    if (supervised.rows.empty()) continue;
    Tape tape(control, Tape::Mode::inference);
    const Var hidden = model.forward(tape, micro.batch(), &edits, false, nullptr);
    sums.add(supervised, head_cross_entropy(tape, hidden, model.head(), supervised.loss_rows()));
  }
  return sums;
}

}  // namespace rubricate
