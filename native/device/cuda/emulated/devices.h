// The emulated devices, for the emulation's own files.
#pragma once

#include <cstdint>

#include "device/cuda/emulated/host_api.h"

namespace rubricate::emulation {

int64_t block_shared_bytes();  // the most shared memory of a block, by the emulated capability

// Call at each launch: returns the error of a lost device; the launch itself may lose it.
cudaError_t begin_launch();

}  // namespace rubricate::emulation
