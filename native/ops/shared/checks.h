// Checks of arguments that ops share, and the chunk size of a kernel's work.
#pragma once

#include <algorithm>
#include <cstdint>

#include "autograd/tape.h"
#include "base/error.h"
#include "device/cpu/thread_pool.h"
#include "tensor/checks.h"
#include "tensor/tensor.h"

namespace rubricate {

// Checks that the tensor is on the tape's device; an undefined tensor passes. Throws ERR_FOREIGN.
inline void require_place(const Tape& tape, const Tensor& tensor, const char* name) {
  require(!tensor.defined() || tensor.stream() == tape.stream(), "ERR_FOREIGN",
          "Expected a tensor in the memory that the tape computes in for ", name, " but received one of another place");
}

// The number of rows that together have kElementGrain elements.
inline int64_t row_grain(int64_t cols) { return std::max<int64_t>(1, kElementGrain / std::max<int64_t>(1, cols)); }

}  // namespace rubricate
