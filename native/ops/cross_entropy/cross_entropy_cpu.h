// Kernels of the cross-entropy for the processor.
#pragma once

#include "ops/cross_entropy/cross_entropy_kernels.h"

namespace rubricate {

void row_loss_cpu(const RowLossArgs& args);
void scale_in_place_cpu(const ScaleArgs& args);

}  // namespace rubricate
