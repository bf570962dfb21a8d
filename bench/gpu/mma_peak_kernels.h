// Arguments of the peak loop of multiply-adds, with which matmuls are compared.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace rubricate::bench {

constexpr int64_t kPeakThreads = 256;

// "mma_peak/1": `blocks` blocks of kPeakThreads threads, `steps` steps each, only in registers. A step of a warp is 8
// mma.sync m16n8k16 (bf16: 32,768 operations), or 16 fused multiply-adds of each thread (f32: 1,024 operations).
struct MmaPeakArgs {
  DType dtype = DType::bf16;
  int64_t blocks = 0, steps = 0;
  float* out = nullptr;  // [blocks, kPeakThreads], so that the compiler removes nothing as unused
};

}  // namespace rubricate::bench
