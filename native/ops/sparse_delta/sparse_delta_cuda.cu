// The sparse update (sparse_delta.h): a thread has one output of one row, or of a block of rows the sum of one entry.
//
//   sparse_add    to[t, r] += sum_i v_i from[t, columns_i]         one chain from zero
//   block_sums    sums[b, i] = sum_t grad[t, n_i] x[t, k_i]         one chain from zero over 64 rows
//   fold          adds a sequence's blocks in order, then its sum to the gradient
//
// Plain kernels. Threads that are neighbours have neighbouring outputs or entries: `to` and `sums` are read and written whole, and
// of `from` and `x` they read within one row, which the caches hold. For E entries and T rows E T multiply-adds each, an entry's
// row found by bisection once in 64 rows; to and from once, x and grad once, E T / 64 sums written and read (4 bytes).
#include "device/cuda/kernel.h"
#include "ops/shared/search.cuh"
#include "ops/sparse_delta/sparse_delta_kernels.h"

namespace rubricate::cuda {
namespace {

constexpr int kThreads = 128;

template <typename From, typename To>
__global__ void __launch_bounds__(kThreads) sparse_add(SparseAddArgs args, int64_t strips) {
  const int64_t r = blockIdx.x % strips * kThreads + threadIdx.x;
  if (r >= args.outputs) return;
  const int32_t begin = args.starts[r], end = args.starts[r + 1];
  if (begin == end && !args.fresh) return;
  const int64_t t = args.begin + blockIdx.x / strips;
  const From* const from = static_cast<const From*>(args.from) + t * args.inputs;
  float sum = -0.0f;
  for (int32_t i = begin; i < end; ++i)
    sum = fmaf(args.values[args.order != nullptr ? args.order[i] : i], widen(from[args.columns[i]]), sum);
  To* const to = static_cast<To*>(args.to) + t * args.outputs + r;
  *to = narrow<To>(args.fresh ? sum : widen(*to) + sum);
}

template <typename X, typename Grad>
__global__ void __launch_bounds__(kThreads) block_sums(SparseSumsArgs args, int64_t strips) {
  const int64_t i = blockIdx.x % strips * kThreads + threadIdx.x;
  if (i >= args.count) return;
  const int64_t b = blockIdx.x / strips, n = last_at_most(args.starts, args.outputs, i);
  const X* const x = static_cast<const X*>(args.x) + args.columns[i];
  const Grad* const grad = static_cast<const Grad*>(args.grad) + n;
  float sum = 0.0f;
  for (int64_t t = args.blocks[b].begin; t < args.blocks[b].end; ++t)
    sum = fmaf(widen(grad[t * args.outputs]), widen(x[t * args.inputs]), sum);
  args.sums[b * args.count + i] = sum;
}

__global__ void __launch_bounds__(kThreads) fold(SparseSumsArgs args) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= args.count) return;
  float carry = args.carry[i], gradient = args.gradient[i];
  for (int64_t b = 0; b < args.block_count; ++b) {
    carry += args.sums[b * args.count + i];
    if (args.blocks[b].last == 0) continue;
    gradient += carry;
    carry = 0.0f;
  }
  args.carry[i] = carry;
  args.gradient[i] = gradient;
}

template <typename From, typename To>
int32_t add(const SparseAddArgs& args, RubricateStream* stream) {
  const int64_t strips = ceil_div(args.outputs, kThreads);
  return RUBRICATE_LAUNCH((sparse_add<From, To>), blocks_for(strips * (args.end - args.begin), 1), kThreads, 0, stream,
                          args, strips);
}

template <typename X, typename Grad>
int32_t sums(const SparseSumsArgs& args, RubricateStream* stream) {
  const int64_t strips = ceil_div(args.count, kThreads);
  const int32_t launched = RUBRICATE_LAUNCH((block_sums<X, Grad>), blocks_for(strips * args.block_count, 1), kThreads,
                                            0, stream, args, strips);
  if (launched != RUBRICATE_OK) return launched;
  return RUBRICATE_LAUNCH(fold, blocks_for(args.count, kThreads), kThreads, 0, stream, args);
}

int32_t sparse_add_cuda(const SparseAddArgs& args, RubricateStream* stream) {
  if (args.begin == args.end) return RUBRICATE_OK;
  if (args.from_dtype == DType::bf16)
    return args.to_dtype == DType::bf16 ? add<bf16, bf16>(args, stream) : add<bf16, float>(args, stream);
  return args.to_dtype == DType::bf16 ? add<float, bf16>(args, stream) : add<float, float>(args, stream);
}

int32_t sparse_sums_cuda(const SparseSumsArgs& args, RubricateStream* stream) {
  if (args.x_dtype == DType::bf16)
    return args.grad_dtype == DType::bf16 ? sums<bf16, bf16>(args, stream) : sums<bf16, float>(args, stream);
  return args.grad_dtype == DType::bf16 ? sums<float, bf16>(args, stream) : sums<float, float>(args, stream);
}

RUBRICATE_KERNEL("sparse_add/1", sparse_add_cuda);
RUBRICATE_KERNEL("sparse_sums/1", sparse_sums_cuda);

}  // namespace
}  // namespace rubricate::cuda
