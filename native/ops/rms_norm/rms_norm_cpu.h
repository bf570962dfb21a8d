// Kernels of RMSNorm on the CPU.
#pragma once

#include "ops/rms_norm/rms_norm_kernels.h"

namespace rubricate {

void rms_norm_forward_cpu(const RmsNormArgs& args);
void rms_norm_backward_cpu(const RmsNormArgs& args);

}  // namespace rubricate
