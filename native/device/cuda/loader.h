// Opens the CUDA plug-in: a shared library beside the addon, or the one that RUBRICATE_CUDA_LIBRARY names. Nothing of
// CUDA is touched before the first call, and a process without the plug-in misses nothing but the devices.
#pragma once

#include <string>

#include "device/cuda/abi.h"

namespace rubricate {

struct CudaPlugin {
  std::string path;
  const RubricateDeviceTable* table = nullptr;
  RubricateKernelFunction kernel = nullptr;
};

// Opened once for the process; what failed is tried again at the next call. Throws ERR_DEVICE with a sentence that says
// whether the library is missing, cannot be opened, is no plug-in, or belongs to another version of this package.
const CudaPlugin& cuda_plugin();

// The plug-in's kernel of that name, such as "swiglu_forward/1". Throws ERR_INTERNAL where it has none.
RubricateKernel cuda_kernel(const char* name);

// Where the library is looked for, whether it is there or not.
std::string cuda_library_path();

}  // namespace rubricate
