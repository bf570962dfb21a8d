#include "train/evaluate.h"

#include "adapter/adapter_batch.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace rubricate {

SlotSums evaluate(const Model& model, const std::vector<std::shared_ptr<Adapter>>& adapters,
                  const std::vector<MicroBatch>& micro_batches, int64_t max_rows, const JobControl& control) {
  const size_t slots = adapters.size() + 1;
  const BatchBounds bounds = BatchBounds::of(model.architecture(), adapters.size());
  const AdapterBatch edits(model.architecture(), adapters, false, control, &model);
  SlotSums sums(slots);
  for (const MicroBatch& micro : micro_batches) micro.batch().require_within(bounds);
  const Split split{most_rows(max_rows, control), max_rows > 0, {}};
  std::vector<MicroBatch> again;
  if (split.max_rows > 0) again = split_again(micro_batches, split, bounds);
  for (const MicroBatch& micro : split.max_rows > 0 ? again : micro_batches) {
    const Supervised supervised = supervised_rows(micro, std::vector<double>(slots, 1.0));
    if (supervised.rows.empty()) continue;
    Tape tape(control, Tape::Mode::inference);
    const Var hidden = model.forward(tape, micro.batch(), &edits, false, nullptr);
    sums.add(supervised, head_cross_entropy(tape, hidden, model.head(), supervised.loss_rows()));
  }
  return sums;
}

}  // namespace rubricate
