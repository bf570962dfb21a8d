// The ids of rows that are sampled, for tests that want no more.
#pragma once

#include <vector>

#include "base/error.h"
#include "ops/sampling/sampling.h"

namespace rubricate::testing {

// As sample_rows, but a row that cannot be sampled is ERR_NOT_FINITE.
inline std::vector<int32_t> sampled_ids(Tape& tape, const Tensor& logits, const std::vector<SampleRequest>& requests) {
  std::vector<int32_t> ids;
  for (const SampledToken& token : sample_rows(tape, logits, requests)) {
    require(token.id >= 0, "ERR_NOT_FINITE", "The row cannot be sampled");
    ids.push_back(token.id);
  }
  return ids;
}

}  // namespace rubricate::testing
