// Kernels of the RED edit on the CPU.
#pragma once

#include "ops/red_edit/red_edit_kernels.h"

namespace rubricate {

void red_edit_rows_cpu(const EditRowsArgs& args);

}  // namespace rubricate
