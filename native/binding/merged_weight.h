// Weights of a loaded model with an adapter merged into them.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "adapter/merge.h"
#include "binding/arguments.h"
#include "binding/states.h"

namespace rubricate::binding {

// A canonical tensor of a merged model.
struct MergedPart {
  std::string name;  // empty: zeros, of a bias that the model does not have
  Shape shape;
  std::optional<SiteMerge> merge;  // none: it keeps its values
  bool is_bias = false;
};

// Reads an array of NativeMergedPart (lib/binding/model.ts). Throws ERR_ARGUMENT, ERR_MERGE.
std::vector<MergedPart> merged_parts_argument(const Napi::Value& value, const Architecture& architecture);

// The parts in `dtype`, one below the other, and then transposed or not, as `stored_weight` puts them together.
// Errors: ERR_TENSOR_MISSING, ERR_SHAPE, ERR_ARGUMENT (none, or parts that do not fit together), ERR_ABORTED.
Tensor merged_weight(ModelState& state, const std::vector<MergedPart>& parts, DType dtype, bool transposed,
                     const std::atomic<bool>& cancelled);

}  // namespace rubricate::binding
