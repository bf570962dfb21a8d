// The logistic function on a device.
#pragma once

#include "device/cuda/kernel.h"

namespace rubricate::cuda {

// e^-|x| <= 1: neither form overflows, and small values keep their precision.
__device__ __forceinline__ float sigmoid(float x) {
  const float e = expf(-fabsf(x));
  return (x >= 0.0f ? 1.0f : e) / (1.0f + e);
}

}  // namespace rubricate::cuda
