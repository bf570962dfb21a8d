// Kernels of SwiGLU for the processor.
#pragma once

#include "ops/swiglu/swiglu_kernels.h"

namespace rubricate {

void swiglu_forward_cpu(const SwigluArgs& args);
void swiglu_backward_cpu(const SwigluArgs& args);

}  // namespace rubricate
