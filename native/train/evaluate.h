// The loss of a model on examples, of the base and of adapters at once.
#pragma once

#include <memory>
#include <vector>

#include "adapter/red_adapter.h"
#include "model/model.h"
#include "runtime/job_control.h"
#include "train/micro_batch.h"

namespace rubricate {

// The sums by slot; adapters[i] serves slot i + 1. Errors: ERR_FOREIGN (a batch for more
// adapters, or for another model), ERR_ABORTED.
SlotSums evaluate(const Model& model, const std::vector<std::shared_ptr<RedAdapter>>& adapters,
                  const std::vector<MicroBatch>& micro_batches, const JobControl& control);

}  // namespace rubricate
