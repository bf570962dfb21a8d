#include "device/cpu/thread_pool.h"
#include "ops/sampling/log_probs_kernels.h"
#include "ops/shared/checks.h"

#define RUBRICATE_KERNELS "ops/sampling/log_probs_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {
namespace {

void dispatch_rows(const LogSumArgs& args, int64_t begin, int64_t end) {
  RUBRICATE_DISPATCH(log_sums, args, begin, end);
}

}  // namespace

void log_sums_cpu(const LogSumArgs& args) {
  parallel_ranges(args.count, row_grain(args.vocabulary),
                  [&](int64_t begin, int64_t end) { dispatch_rows(args, begin, end); });
}

}  // namespace rubricate
