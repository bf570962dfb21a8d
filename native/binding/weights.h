// The current weights of a loaded model, by canonical name.
#pragma once

#include <string>

#include "binding/states.h"

namespace rubricate::binding {

// In the stored dtype: a view of the file, or of a trained weight a copy of the master. Throws ERR_TENSOR_MISSING.
TensorSource current_weight(ModelState& state, const std::string& name);

// For each tensor by sorted canonical name: its name and a zero byte, its rank and sizes as 64-bit little-endian
// integers, and 64 of its elements as fp32, element floor(i * count / 64) for i in 0 ... 63.
std::string fingerprint(ModelState& state, const std::atomic<bool>& cancelled);

// Bytes of the weights that are used in place in their mapped files.
int64_t mapped_bytes(const ModelState& state);

}  // namespace rubricate::binding
