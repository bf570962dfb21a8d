#include "model/logits.h"

#include "adapter/adapter_batch.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace rubricate {

Tensor forward_logits(const Model& model, const Batch& batch, const std::vector<std::shared_ptr<Adapter>>& adapters,
                      const std::vector<int32_t>& rows, const JobControl& control) {
  batch.require_within(BatchBounds::of(model.architecture(), adapters.size()));
  const AdapterBatch edits(model.architecture(), adapters, false, control, &model);
  Tape tape(control, Tape::Mode::inference);
  const Var hidden = model.forward(tape, batch, &edits, false, nullptr);
  return head_logits(tape, hidden.value(), model.head(), static_cast<int64_t>(rows.size()), rows.data()).on_cpu();
}

}  // namespace rubricate
