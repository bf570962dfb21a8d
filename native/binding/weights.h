// A loaded model's weights as they are now, by canonical name.
#pragma once

#include <string>

#include "binding/states.h"

namespace rubricate::binding {

// In its stored dtype: where it lies in the file; once trained, a copy of the master. Throws ERR_TENSOR_MISSING.
TensorSource current_weight(ModelState& state, const std::string& name);

// For each tensor by sorted canonical name: its name and a zero byte, its rank and sizes as 64-bit little-endian
// integers, and 64 of its elements as fp32, element floor(i * count / 64) for i in 0 ... 63.
std::string fingerprint(ModelState& state, const std::atomic<bool>& cancelled);

// Bytes of weights that are used where they lie in their files.
int64_t mapped_bytes(const ModelState& state);

}  // namespace rubricate::binding
