// The current weights of a loaded model, by canonical name.
#pragma once

#include <string>

#include "binding/states.h"

namespace rubricate::binding {

// In the stored dtype: a view of the file, or of a trained weight a copy of the master. Throws ERR_TENSOR_MISSING.
TensorSource current_weight(ModelState& state, const std::string& name);

// Present values as a checkpoint stores them: the tensors of these canonical names one below the other, and then
// transposed or not. Errors: ERR_TENSOR_MISSING, ERR_ARGUMENT (none, or tensors that do not fit together).
Tensor stored_weight(ModelState& state, const std::vector<std::string>& names, bool transposed);

// For each tensor by sorted canonical name: its name and a zero byte, its rank and sizes as 64-bit little-endian
// integers, and 64 of its elements as fp32, element floor(i * count / 64) for i in 0 ... 63.
std::string fingerprint(ModelState& state, const std::atomic<bool>& cancelled);

// Bytes of the weights that are used in place in their mapped files.
int64_t mapped_bytes(const ModelState& state);

}  // namespace rubricate::binding
