// Products by cuBLASLt, for the kernel "matmul" of linear_cuda.cu.
#pragma once

#include <cstdint>

#include "device/cuda/abi.h"
#include "ops/linear/linear_kernels.h"

namespace rubricate::cuda {

// Puts the product into the stream, with args.algorithm. Is a RubricateStatus, the sentence set.
int32_t matmul_cublaslt(const MatmulArgs& args, RubricateStream* stream);

}  // namespace rubricate::cuda
