// The one portability header of *_cuda.cu files. nvcc compiles them for GPUs; g++ compiles the same files against
// emulated/cuda_runtime.h, which runs every GPU thread on the CPU. The headers below hide the differences:
//
//   launch.h      RUBRICATE_LAUNCH, RUBRICATE_SHARED, RUBRICATE_DYNAMIC_SHARED, RUBRICATE_KERNEL
//   vectors.h     bf16 and f16 to float and back, 16-byte loads and stores
//   warp.h        reductions of a warp and of a block in a fixed order
//   mma.h         mma.sync for bf16, ldmatrix
//   async_copy.h  cp.async
//
// README.md in this folder shows how to add a kernel.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "base/dtype.h"
#include "device/cuda/async_copy.h"
#include "device/cuda/launch.h"
#include "device/cuda/mma.h"
#include "device/cuda/vectors.h"
#include "device/cuda/warp.h"
