// The fixed entries of a plan's sparse updates (adapter/plan.h, ops/sparse_delta/sparse_delta.h):
//
//   "indices": [ { "name": "layers.0.self_attn.q_proj.index", "shape": [24, 24], "count": 7 }, ... ]
//
// The indices themselves come beside the document, as int32. Many adapters of a plan share them: they are stored once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "ops/sparse_delta/sparse_index.h"

namespace rubricate {

struct PlanSparse {
  std::string name;
  std::shared_ptr<const SparseIndex> index;
  bool operator==(const PlanSparse& other) const {
    return name == other.name && (index == other.index || *index == *other.index);
  }
};

// Reads "indices", which may be missing. indices: all of them, in their order.
// Errors: ERR_ARGUMENT; ERR_SHAPE for a matrix that is too large.
std::vector<PlanSparse> parse_sparse(const JsonAt& plan, const std::vector<int32_t>& indices);

}  // namespace rubricate
