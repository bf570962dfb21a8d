// The cross-entropy of rows of logits (cross_entropy.h), and the copies of rows around it.
//
//   most = max z;  sum = sum e^(z - most);  loss = most + log(sum) - z[target];  dz = weight (e^(z - most) / sum - hot)
//
// A block has one row and reads it three times: once from memory, then from the L2 cache (a row has some 100 KiB). It
// writes dz once. So each logit costs about 4 bytes read, 2 (bf16) or 4 written, and two exponentials. Sums of
// exponentials are fp32 over 8 logits, and double beyond.
#include "device/cuda/kernel.h"
#include "ops/cross_entropy/cross_entropy_kernels.h"

namespace rubricate::cuda {
namespace {

constexpr int kThreads = 256, kEach = 8, kChunk = kThreads * kEach;

// Visits a row in chunks of kChunk: visit(values of z, how many, index of value j). All threads visit every chunk, some
// with no values. vectors: rows are aligned to 16 bytes and n % kEach == 0.
template <bool vectors, typename Visit>
__device__ __forceinline__ void each_chunk(const float* z, int64_t n, Visit&& visit) {
  const int thread = static_cast<int>(threadIdx.x);
  for (int64_t begin = 0; begin < n; begin += kChunk) {
    float values[kEach];
    if constexpr (vectors) {
      const int64_t first = begin + thread * kEach;
      const int count = first < n ? kEach : 0;
      if (count > 0) {
        float four[4];
        load_vector(z + first, four);
#pragma unroll
        for (int j = 0; j < 4; ++j) values[j] = four[j];
        load_vector(z + first + 4, four);
#pragma unroll
        for (int j = 0; j < 4; ++j) values[4 + j] = four[j];
      }
      visit(values, count, [first](int j) { return first + j; });
    } else {
      const int64_t first = begin + thread;
      int count = 0;
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        if (first + j * kThreads >= n) continue;
        values[j] = z[first + j * kThreads];
        count = j + 1;
      }
      visit(values, count, [first](int j) { return first + j * kThreads; });
    }
  }
}

__device__ __forceinline__ double block_total(double x, double* partial) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(kAllLanes, x, offset);
  __syncthreads();
  if (lane_index() == 0) partial[warp_index()] = x;
  __syncthreads();
  double total = partial[0];
  for (int warp = 1; warp < kThreads / kWarpSize; ++warp) total += partial[warp];
  return total;
}

// In place, the bf16 output of a chunk overwrites fp32 input at or before the chunk: so a barrier separates reads and
// writes of each chunk.
template <bool vectors, typename T>
__device__ __forceinline__ void write_gradient(const float* z, T* dz, int64_t n, float most, float factor,
                                               int64_t target, float at_target) {
  each_chunk<vectors>(z, n, [&](const float(&values)[kEach], int count, auto&& place) {
    float y[kEach];
#pragma unroll
    for (int j = 0; j < kEach; ++j)
      y[j] = j < count ? (place(j) == target ? at_target : expf(values[j] - most) * factor) : 0.0f;
    if constexpr (sizeof(T) == 2) __syncthreads();
    if constexpr (vectors) {
      if (count == 0) return;
#pragma unroll
      for (int first = 0; first < kEach; first += kLanes<T>) {
        float lanes[kLanes<T>];
#pragma unroll
        for (int j = 0; j < kLanes<T>; ++j) lanes[j] = y[first + j];
        store_vector(dz + place(first), lanes);
      }
    } else {
#pragma unroll
      for (int j = 0; j < kEach; ++j)
        if (j < count) dz[place(j)] = narrow<T>(y[j]);
    }
  });
}

template <bool vectors>
__global__ void __launch_bounds__(kThreads) row_loss(RowLossArgs args) {
  RUBRICATE_SHARED(float[kThreads / kWarpSize], partial);
  RUBRICATE_SHARED(double[kThreads / kWarpSize], partial_totals);
  const int64_t row = blockIdx.x, n = args.vocabulary;
  const float* const z = args.logits + row * n;
  const int64_t target = args.targets[row];
  const float target_logit = z[target];

  float most = -INFINITY;
  each_chunk<vectors>(z, n, [&](const float(&values)[kEach], int count, auto&&) {
#pragma unroll
    for (int j = 0; j < kEach; ++j)
      if (j < count) most = fmaxf(most, values[j]);
  });
  most = block_max<kThreads>(most, partial);

  double sum = 0.0;
  float earlier = 0.0f;  // 1 if a lower id has the largest logit
  each_chunk<vectors>(z, n, [&](const float(&values)[kEach], int count, auto&& place) {
    float few = 0.0f;
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      if (j >= count) continue;
      few += expf(values[j] - most);
      if (values[j] == most && place(j) < target) earlier = 1.0f;
    }
    sum += static_cast<double>(few);
  });
  sum = block_total(sum, partial_totals);
  earlier = block_max<kThreads>(earlier, partial);
  if (threadIdx.x == 0) {
    args.loss[row] = (static_cast<double>(most) + log(sum)) - static_cast<double>(target_logit);
    if (args.correct != nullptr) args.correct[row] = target_logit == most && earlier == 0.0f;
  }
  if (args.dz == nullptr) return;

  const double weight = static_cast<double>(args.weights[row]);
  const float factor = static_cast<float>(weight / sum);
  const float at_target = static_cast<float>(weight * (static_cast<double>(expf(target_logit - most)) / sum - 1.0));
  float* const dz = args.dz + row * n;
  __syncthreads();  // every thread has read z[target], before any writes
  if (args.dz_dtype == DType::bf16)
    write_gradient<vectors>(z, reinterpret_cast<bf16*>(dz), n, most, factor, target, at_target);
  else
    write_gradient<vectors>(z, dz, n, most, factor, target, at_target);
}

int32_t row_loss_cuda(const RowLossArgs& args, RubricateStream* stream) {
  if (args.rows == 0) return RUBRICATE_OK;
  const bool vectors = args.vocabulary % kEach == 0 && aligned_16(args.logits) && aligned_16(args.dz);
  const unsigned rows = static_cast<unsigned>(args.rows);
  return vectors ? RUBRICATE_LAUNCH(row_loss<true>, rows, kThreads, 0, stream, args)
                 : RUBRICATE_LAUNCH(row_loss<false>, rows, kThreads, 0, stream, args);
}

// Reads and writes each element once; does nothing if the factor is 1.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    scale_in_place(T* values, int64_t count, float usual, const float* __restrict__ factor_at) {
  const float factor = factor_at != nullptr ? *factor_at : usual;
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kLanes<T>;
  if (i >= count || factor == 1.0f) return;
  float x[kLanes<T>];
  load_vector_upto(values + i, count - i, x);
#pragma unroll
  for (int j = 0; j < kLanes<T>; ++j) x[j] *= factor;
  store_vector_upto(values + i, count - i, x);
}

template <typename T>
int32_t scale(const ScaleArgs& args, RubricateStream* stream) {
  return RUBRICATE_LAUNCH(scale_in_place<T>, blocks_for(args.count, kThreads * kLanes<T>), kThreads, 0, stream,
                          static_cast<T*>(args.values), args.count, args.factor, args.factor_at);
}
int32_t scale_in_place_cuda(const ScaleArgs& args, RubricateStream* stream) {
  if (args.count == 0) return RUBRICATE_OK;
  return args.dtype == DType::bf16 ? scale<bf16>(args, stream) : scale<float>(args, stream);
}

// A block copies a row: 16 bytes per thread, or 2 if rows are not aligned.
template <bool vectors>
__global__ void __launch_bounds__(kThreads) copy_rows(CopyRowsArgs args) {
  const int64_t line = blockIdx.x, row = args.rows[line];
  const char* const from = static_cast<const char*>(args.from) + (args.scatter ? line : row) * args.row_bytes;
  char* const to = static_cast<char*>(args.to) + (args.scatter ? row : line) * args.row_bytes;
  constexpr int64_t bytes = vectors ? 16 : 2;
  for (int64_t at = threadIdx.x * bytes; at < args.row_bytes; at += kThreads * bytes) {
    if constexpr (vectors)
      store_16(to + at, load_16(from + at));
    else
      *reinterpret_cast<uint16_t*>(to + at) = *reinterpret_cast<const uint16_t*>(from + at);
  }
}

int32_t copy_rows_cuda(const CopyRowsArgs& args, RubricateStream* stream) {
  if (args.count == 0 || args.row_bytes == 0) return RUBRICATE_OK;
  const bool vectors = args.row_bytes % 16 == 0 && aligned_16(args.from) && aligned_16(args.to);
  const unsigned rows = static_cast<unsigned>(args.count);
  return vectors ? RUBRICATE_LAUNCH(copy_rows<true>, rows, kThreads, 0, stream, args)
                 : RUBRICATE_LAUNCH(copy_rows<false>, rows, kThreads, 0, stream, args);
}

RUBRICATE_KERNEL("row_loss/1", row_loss_cuda);
RUBRICATE_KERNEL("scale_in_place/1", scale_in_place_cuda);
RUBRICATE_KERNEL("copy_rows/1", copy_rows_cuda);

}  // namespace
}  // namespace rubricate::cuda
