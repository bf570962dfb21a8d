// CUDA on the CPU: *_cuda.cu files compile as C++ against this header instead of the toolkit's (its folder is first in
// the include path). Every thread of a block is a fiber; blocks run one after another.
//
//   types.h       qualifiers, dim3, vector types, threadIdx etc.
//   execution.h   for a kernel's threads: barriers, warp collectives, shared memory
//   intrinsics.h  shuffles, votes, atomics, bit and math functions, built on execution.h
//   host_api.h    cudaMalloc, streams, events
//
// The emulation detects errors. Device and shared memory start as NaN patterns; threads and blocks run in an order that
// RUBRICATE_EMULATION_SEED shuffles; built with AddressSanitizer it finds accesses out of bounds, with ThreadSanitizer
// missing barriers. It does not model speed.
#pragma once

#include "device/cuda/emulated/execution.h"
#include "device/cuda/emulated/host_api.h"
#include "device/cuda/emulated/intrinsics.h"
#include "device/cuda/emulated/types.h"
