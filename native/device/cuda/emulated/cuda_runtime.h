// CUDA on a processor: *_cuda.cu files compile as C++ against this header instead of the toolkit's (its folder comes
// first among the include paths). Every thread of a block is a fiber; blocks run one after another.
//
//   types.h       qualifiers, dim3, vector types, threadIdx and its like
//   execution.h   what a kernel's thread can ask of its block: barriers, warp collectives, shared memory
//   intrinsics.h  shuffles, votes, atomics, bits and mathematics, upon execution.h
//   host_api.h    cudaMalloc, streams, events
//
// The emulation is a net for errors. Device and shared memory begin as NaN patterns; threads and blocks run in an order
// that RUBRICATE_EMULATION_SEED shuffles; built with AddressSanitizer it finds accesses out of bounds, with
// ThreadSanitizer missing barriers. It says nothing about speed.
#pragma once

#include "device/cuda/emulated/execution.h"
#include "device/cuda/emulated/host_api.h"
#include "device/cuda/emulated/intrinsics.h"
#include "device/cuda/emulated/types.h"
