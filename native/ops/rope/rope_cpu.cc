#include "ops/rope/rope_kernels.h"

#include "device/cpu/thread_pool.h"

#define RUBRICATE_KERNELS "ops/rope/rope_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {
namespace {

void dispatch_rows(const RopeArgs& args, int64_t begin, int64_t end) {
  RUBRICATE_DISPATCH(rope_rows, args, begin, end);
}

constexpr int64_t kGrainElements = 65536;  // about 20 us

}  // namespace

void rope_cpu(const RopeArgs& args) {
  const int64_t grain = std::max<int64_t>(1, kGrainElements / std::max<int64_t>(1, args.heads * args.head_dim));
  parallel_ranges(args.rows, grain, [&](int64_t begin, int64_t end) { dispatch_rows(args, begin, end); });
}

}  // namespace rubricate
