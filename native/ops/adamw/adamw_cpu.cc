#include "ops/adamw/adamw_kernels.h"

#include "base/integers.h"
#include "device/cpu/thread_pool.h"
#include "ops/shared/checks.h"

#define RUBRICATE_KERNELS "ops/adamw/adamw_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {
namespace {

void dispatch_adamw(const AdamWArgs& args, int64_t begin, int64_t end) {
  RUBRICATE_DISPATCH(adamw_range, args, begin, end);
}
void dispatch_square_sums(const SquareSumArgs& args, int64_t begin, int64_t end) {
  RUBRICATE_DISPATCH(square_sum_blocks, args, begin, end);
}
void dispatch_round(const RoundArgs& args, int64_t begin, int64_t end) {
  RUBRICATE_DISPATCH(round_range, args, begin, end);
}

}  // namespace

void adamw_cpu(const AdamWArgs& args) {
  parallel_ranges(args.count, kElementGrain, [&](int64_t begin, int64_t end) { dispatch_adamw(args, begin, end); });
}

void square_sums_cpu(const SquareSumArgs& args) {
  parallel_ranges(ceil_div(args.count, kNormBlock), 2 * kElementGrain / kNormBlock,
                  [&](int64_t begin, int64_t end) { dispatch_square_sums(args, begin, end); });
}

void round_cpu(const RoundArgs& args) {
  parallel_ranges(args.count, 2 * kElementGrain, [&](int64_t begin, int64_t end) { dispatch_round(args, begin, end); });
}

}  // namespace rubricate
