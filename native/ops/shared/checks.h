// What ops share: checks of arguments, and how large a chunk of a kernel's work is.
#pragma once

#include <algorithm>
#include <cstdint>

#include "autograd/tape.h"
#include "base/error.h"
#include "device/cpu/thread_pool.h"
#include "tensor/checks.h"
#include "tensor/tensor.h"

namespace rubricate {

// That the tape computes where the tensor's memory is; an undefined tensor passes. Throws ERR_FOREIGN.
inline void require_place(const Tape& tape, const Tensor& tensor, const char* name) {
  require(!tensor.defined() || tensor.stream() == tape.stream(), "ERR_FOREIGN",
          "Expected a tensor in the memory that the tape computes in for ", name, " but received one of another place");
}

// Rows that have kElementGrain elements together.
inline int64_t row_grain(int64_t cols) { return std::max<int64_t>(1, kElementGrain / std::max<int64_t>(1, cols)); }

}  // namespace rubricate
