// The two steps of the sums over rows, for kernels that fuse the first.
#pragma once

#include "device/cuda/launch.h"
#include "ops/row_sums/row_sums_kernels.h"

namespace rubricate::cuda {

// Whether whole chunks of all arrays and vectors may be accessed.
bool sums_aligned(const SlotSumsArgs& args);

// Writes the tiles' sums to args.partials, and dh.
int32_t launch_tile_sums(const SlotSumsArgs& args, RubricateStream* stream);
// Adds args.partials, tile by tile, and then each sequence's sum to its slot's gradients.
int32_t launch_fold(const SlotSumsArgs& args, RubricateStream* stream);

}  // namespace rubricate::cuda
