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
    case cudaErrorUnsupportedPtxVersion:
    case cudaErrorSystemDriverMismatch:
      return RUBRICATE_DRIVER_TOO_OLD;
    case cudaErrorNoDevice:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorInvalidPtx:
    case cudaErrorDevicesUnavailable:
    case cudaErrorNotSupported:
    case cudaErrorSystemNotReady:
      return RUBRICATE_NO_DEVICE;
    // Those after which CUDA returns an error from every call of the process.
    case cudaErrorECCUncorrectable:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorContextIsDestroyed:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorUnknown:
      return RUBRICATE_DEVICE_LOST;
    default:
      return RUBRICATE_INVALID;
  }
}

// What a user can do about errors whose text by CUDA does not say it.
const char* advice_for(cudaError_t error) {
  switch (error) {
    case cudaErrorSystemNotReady:
      return "; on a machine with NVSwitch the service nvidia-fabricmanager must run";
    case cudaErrorSystemDriverMismatch:
      return "; the driver in the kernel and libcuda.so.1 are of different versions: restart the machine";
    case cudaErrorDevicesUnavailable:
      return "; another process may use the device alone";
    default:
      return "";
  }
}

}  // namespace

int32_t failed(cudaError_t error, const char* what) {
  cudaGetLastError();  // so that the next launch does not report this one's error
  std::snprintf(sentence_of_thread, sizeof sentence_of_thread, "%s (CUDA error %d, in %s)%s", cudaGetErrorString(error),
                static_cast<int>(error), what, advice_for(error));
  return status_of(error);
}

int32_t failed(RubricateStatus status, const char* sentence) {
  std::snprintf(sentence_of_thread, sizeof sentence_of_thread, "%s", sentence);
  return status;
}

const char* message() { return sentence_of_thread; }

}  // namespace rubricate::cuda
