// Statuses of the plug-in and the sentence that goes with the last one of a thread.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "device/cuda/abi.h"

namespace rubricate::cuda {

// Sets this thread's sentence ("WHAT: what CUDA says") and returns the status for `error`. Errors that CUDA keeps
// returning from every later call of the process become RUBRICATE_DEVICE_LOST.
int32_t failed(cudaError_t error, const char* what);

// Sets this thread's sentence and returns `status`.
int32_t failed(RubricateStatus status, const char* sentence);

const char* message();

inline int32_t checked(cudaError_t error, const char* what) {
  return error == cudaSuccess ? RUBRICATE_OK : failed(error, what);
}

}  // namespace rubricate::cuda
