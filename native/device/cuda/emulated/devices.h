// The emulated devices, for the emulation's own files.
#pragma once

#include <cstdint>

#include "device/cuda/emulated/host_api.h"

namespace rubricate::emulation {

int64_t block_shared_bytes();  // the most shared memory of a block, by the emulated capability

int64_t setting(const char* name, int64_t usual);  // a number in the environment

// Keeps the error for cudaGetLastError, and returns it.
cudaError_t report(cudaError_t error);
// The error of a lost device.
cudaError_t state_of(int device);
cudaError_t state();  // of the current device
int present_device();

// Runs all that waits in streams.
void run_streams();

// Call at each launch: returns the error of a lost device; the launch itself may lose it.
cudaError_t begin_launch();

}  // namespace rubricate::emulation
