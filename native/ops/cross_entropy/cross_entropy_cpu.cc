#include "ops/cross_entropy/cross_entropy_kernels.h"

#include <algorithm>

#include "device/cpu/thread_pool.h"

#define RUBRICATE_KERNELS "ops/cross_entropy/cross_entropy_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {
namespace {

constexpr int64_t kGrain = 32768;  // elements, some 30 us of exponentials

void dispatch_rows(const RowLossArgs& args, int64_t begin, int64_t end) {
  RUBRICATE_DISPATCH(row_losses, args, begin, end);
}
void dispatch_scale(const ScaleArgs& args, int64_t begin, int64_t end) {
  RUBRICATE_DISPATCH(scale_range, args, begin, end);
}

}  // namespace

void row_loss_cpu(const RowLossArgs& args) {
  parallel_ranges(args.rows, std::max<int64_t>(1, kGrain / args.vocabulary),
                  [&](int64_t begin, int64_t end) { dispatch_rows(args, begin, end); });
}

void scale_in_place_cpu(const ScaleArgs& args) {
  parallel_ranges(args.count, 4 * kGrain, [&](int64_t begin, int64_t end) { dispatch_scale(args, begin, end); });
}

}  // namespace rubricate
