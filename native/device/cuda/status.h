// The plug-in's statuses, with the sentence of each thread's last error.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "device/cuda/abi.h"

namespace rubricate::cuda {

// Sets this thread's sentence (CUDA's message, and `what`) and returns the status for `error`. Sticky errors, which
// CUDA returns from every later call of the process, become RUBRICATE_DEVICE_LOST.
int32_t failed(cudaError_t error, const char* what);

// Sets this thread's sentence and returns `status`.
int32_t failed(RubricateStatus status, const char* sentence);

const char* message();

inline int32_t checked(cudaError_t error, const char* what) {
  return error == cudaSuccess ? RUBRICATE_OK : failed(error, what);
}

}  // namespace rubricate::cuda
