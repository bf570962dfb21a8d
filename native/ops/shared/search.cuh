// A device function for ascending bounds.
#pragma once

#include "device/cuda/kernel.h"

namespace rubricate::cuda {

// The last i in [0, count) with bounds[i] <= value; 0 if there is none.
template <typename Bound>
__device__ __forceinline__ int64_t last_at_most(const Bound* bounds, int64_t count, int64_t value) {
  int64_t low = 0, high = count - 1;
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (bounds[middle] <= value)
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

}  // namespace rubricate::cuda
