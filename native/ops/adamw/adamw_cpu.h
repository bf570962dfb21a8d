// Kernels of the optimizer on the CPU.
#pragma once

#include "ops/adamw/adamw_kernels.h"

namespace rubricate {

void adamw_cpu(const AdamWArgs& args);
void square_sums_cpu(const SquareSumArgs& args);
void round_cpu(const RoundArgs& args);

}  // namespace rubricate
