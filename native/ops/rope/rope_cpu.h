// The CPU kernel of rope.h.
#pragma once

#include "ops/rope/rope_kernels.h"

namespace rubricate {

void rope_cpu(const RopeArgs& args);

}  // namespace rubricate
