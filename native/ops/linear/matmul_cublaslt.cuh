// Matmuls by cuBLASLt, for the kernel "matmul" of linear_cuda.cu.
#pragma once

#include <cstdint>

#include "device/cuda/abi.h"
#include "ops/linear/linear_kernels.h"

namespace rubricate::cuda {

// Queues the matmul with args.algorithm. Returns a RubricateStatus, with the message set.
int32_t matmul_cublaslt(const MatmulArgs& args, RubricateStream* stream);

}  // namespace rubricate::cuda
