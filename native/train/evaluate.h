// The loss of a model on examples, for the base and for adapters in one pass.
#pragma once

#include <memory>
#include <vector>

#include "adapter/adapter.h"
#include "model/model.h"
#include "runtime/job_control.h"
#include "train/micro_batch.h"

namespace rubricate {

// The sums by slot; adapters[i] is slot i + 1. A slot's sums have the bits of its evaluation alone, also beside an adapter
// with a NaN, whose sums are NaN. max_rows: most rows of a micro-batch, as for a training step; 0: as they are. Errors:
// ERR_FOREIGN (a batch made for more adapters, or for another model), ERR_ABORTED.
SlotSums evaluate(const Model& model, const std::vector<std::shared_ptr<Adapter>>& adapters,
                  const std::vector<MicroBatch>& micro_batches, int64_t max_rows, const JobControl& control);

}  // namespace rubricate
