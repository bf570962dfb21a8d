// The logits of a batch in one forward, without cached keys and values.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "adapter/adapter.h"
#include "model/model.h"
#include "runtime/job_control.h"

namespace rubricate {

// Logits of the given rows of a batch, fp32 [rows, vocabulary], in CPU memory. adapters: slot i + 1 is adapters[i].
// Errors: ERR_ARGUMENT, ERR_FOREIGN, ERR_ABORTED.
Tensor forward_logits(const Model& model, const Batch& batch, const std::vector<std::shared_ptr<Adapter>>& adapters,
                      const std::vector<int32_t>& rows, const JobControl& control);

}  // namespace rubricate
