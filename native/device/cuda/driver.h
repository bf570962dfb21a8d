// The version of the NVIDIA driver, without linking against it.
#pragma once

#include <cstdint>

namespace rubricate::cuda {

// The CUDA version that the driver supports (1000 * major + 10 * minor); 0 if there is no driver.
int32_t driver_version();

}  // namespace rubricate::cuda
