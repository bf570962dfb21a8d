#include "device/cuda/status.h"

#include <cstdio>

namespace rubricate::cuda {
namespace {

thread_local char sentence_of_thread[512];

RubricateStatus status_of(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return RUBRICATE_OK;
    case cudaErrorMemoryAllocation:
      return RUBRICATE_OUT_OF_MEMORY;
    case cudaErrorInsufficientDriver:
      return RUBRICATE_DRIVER_TOO_OLD;
    case cudaErrorNoDevice:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorDevicesUnavailable:
      return RUBRICATE_NO_DEVICE;
    case cudaErrorInvalidValue:
    case cudaErrorInvalidConfiguration:
    case cudaErrorInvalidDevice:
      return RUBRICATE_INVALID;
    default:
      return RUBRICATE_DEVICE_LOST;
  }
}

}  // namespace

int32_t failed(cudaError_t error, const char* what) {
  cudaGetLastError();  // so that the next launch does not report this one's error
  std::snprintf(sentence_of_thread, sizeof sentence_of_thread, "%s (CUDA error %d, in %s)", cudaGetErrorString(error),
                static_cast<int>(error), what);
  return status_of(error);
}

int32_t failed(RubricateStatus status, const char* sentence) {
  std::snprintf(sentence_of_thread, sizeof sentence_of_thread, "%s", sentence);
  return status;
}

const char* message() { return sentence_of_thread; }

}  // namespace rubricate::cuda
