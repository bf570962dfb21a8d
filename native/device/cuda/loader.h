// Opens the CUDA plug-in: a shared library beside the addon, or the one that RUBRICATE_CUDA_LIBRARY names. CUDA is not
// used before the first call, and a process without the plug-in lacks only the devices.
#pragma once

#include <string>

#include "device/cuda/abi.h"

namespace rubricate {

struct CudaPlugin {
  std::string path;
  const RubricateDeviceTable* table = nullptr;
  RubricateKernelFunction kernel = nullptr;
};

// Opened once for the process; a failure is retried at the next call. Throws ERR_DEVICE with a sentence that says
// whether the library is missing, cannot be opened, is not a plug-in, or belongs to another version of this package.
const CudaPlugin& cuda_plugin();

// The plug-in's kernel of that name, such as "swiglu_forward/1". Throws ERR_INTERNAL if there is none.
RubricateKernel cuda_kernel(const char* name);

// The path of the library, whether it exists or not.
std::string cuda_library_path();

}  // namespace rubricate
