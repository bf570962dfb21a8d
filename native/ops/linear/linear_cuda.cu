// The matmul of linear.h on a device, and the sum of columns that is a bias's gradient.
//
// Own kernels, which always work: matmul_tensor_cores.cuh for bf16 by bf16 and bf16 by f16, matmul_plain.cuh for the
// rest. The dtypes and the device decide which one runs; the tile depends on the sizes, and does not change the bits.
// matmul_cublaslt.cuh runs the matmuls for which the caller selected cuBLASLt.
#include "base/integers.h"
#include "device/cuda/kernel.h"
#include "device/cuda/status.h"
#include "ops/linear/linear_kernels.h"
#include "ops/linear/matmul_cublaslt.cuh"
#include "ops/linear/matmul_plain.cuh"
#include "ops/linear/matmul_tensor_cores.cuh"

namespace rubricate::cuda {
namespace {

constexpr int kSumRows = 8, kSumCols = 32;

template <typename T>
StoredMatrix<T> left_matrix(const MatmulArgs& args) {
  return args.a_transposed ? stored_matrix<T>(args.a, args.a_stride, args.k, args.m)
                           : stored_matrix<T>(args.a, args.a_stride, args.m, args.k);
}
template <typename T>
StoredMatrix<T> right_matrix(const MatmulArgs& args) {
  return args.b_transposed ? stored_matrix<T>(args.b, args.b_stride, args.n, args.k)
                           : stored_matrix<T>(args.b, args.b_stride, args.k, args.n);
}

MatmulResult result_of(const MatmulArgs& args) {
  const bool narrow_result = args.c_dtype == DType::bf16;
  const bool pairs = args.c_stride % 2 == 0 && reinterpret_cast<uintptr_t>(args.c) % (narrow_result ? 4 : 8) == 0;
  return {args.m, args.n, args.k, args.c, args.c_stride, narrow_result, args.accumulate, pairs, args.bias};
}

int64_t tiles(const MatmulArgs& args, int64_t rows, int64_t cols) {
  return ceil_div(args.m, rows) * ceil_div(args.n, cols);
}

template <typename TB, bool kATransposed, bool kBTransposed, int kM, int kN, int kWarpsM, int kWarpsN, int kStages>
int32_t run_tensor_cores(const MatmulArgs& args, RubricateStream* stream) {
  constexpr int64_t bytes = int64_t{kStages} * (kM + kN) * kStep * 2;
  return RUBRICATE_LAUNCH((matmul_tensor_cores<TB, kATransposed, kBTransposed, kM, kN, kWarpsM, kWarpsN, kStages>),
                          static_cast<unsigned>(tiles(args, kM, kN)), kWarpsM * kWarpsN * kWarpSize, bytes, stream,
                          left_matrix<bf16>(args), right_matrix<TB>(args), result_of(args));
}

// With few rows, as in decoding, the matmul is memory-bound: small blocks, many stages. If large tiles would not fill
// the device, smaller ones are used.
template <typename TB, bool kATransposed, bool kBTransposed>
int32_t choose_tile(const MatmulArgs& args, RubricateStream* stream) {
  if constexpr (!kATransposed)
    if (args.m <= 16) return run_tensor_cores<TB, kATransposed, kBTransposed, 16, 32, 1, 2, 12>(args, stream);
  if (args.m <= 64 || args.n <= 64 || tiles(args, 128, 128) < stream->multiprocessors)
    return run_tensor_cores<TB, kATransposed, kBTransposed, 64, 64, 2, 2, 4>(args, stream);
  return run_tensor_cores<TB, kATransposed, kBTransposed, 128, 128, 2, 4, 3>(args, stream);
}

template <typename TA, typename TB, int kM, int kN, int kRows, int kCols>
int32_t run_plain(const MatmulArgs& args, RubricateStream* stream) {
  return RUBRICATE_LAUNCH((matmul_plain<TA, TB, kM, kN, kRows, kCols>), static_cast<unsigned>(tiles(args, kM, kN)),
                          kM / kRows * (kN / kCols), 0, stream, left_matrix<TA>(args), right_matrix<TB>(args),
                          result_of(args), !args.a_transposed, args.b_transposed);
}

template <typename TA, typename TB>
int32_t plain(const MatmulArgs& args, RubricateStream* stream) {
  if (args.m <= 16) return run_plain<TA, TB, 16, 64, 2, 4>(args, stream);
  if (args.m <= 64 || args.n <= 64 || tiles(args, 128, 128) < stream->multiprocessors)
    return run_plain<TA, TB, 64, 64, 4, 4>(args, stream);
  return run_plain<TA, TB, 128, 128, 8, 8>(args, stream);
}
template <typename TA>
int32_t plain(const MatmulArgs& args, RubricateStream* stream) {
  switch (args.b_dtype) {
    case DType::bf16:
      return plain<TA, bf16>(args, stream);
    case DType::f16:
      return plain<TA, f16>(args, stream);
    default:
      return plain<TA, float>(args, stream);
  }
}

int32_t matmul_cuda(const MatmulArgs& args, RubricateStream* stream) {
  if (args.accumulate && args.c_dtype != DType::f32) return failed(RUBRICATE_INVALID, "matmul: a sum into bf16");
  if (args.provider == MatmulProvider::cublaslt) return matmul_cublaslt(args, stream);
  constexpr int64_t most = int64_t{1} << 30;  // of each size; offsets into the matrices are of 64 bits
  if (args.m > most || args.n > most || args.k > most)
    return failed(RUBRICATE_INVALID, "matmul: a matrix of more than 2^30 rows or columns");
  if (args.m == 0 || args.n == 0) return RUBRICATE_OK;
  const bool halves = args.a_dtype == DType::bf16 && args.b_dtype != DType::f32 && stream->capability >= 80;
  if (halves && !args.a_transposed) {
    if (args.b_dtype == DType::f16)
      return args.b_transposed ? choose_tile<f16, false, true>(args, stream)
                               : choose_tile<f16, false, false>(args, stream);
    return args.b_transposed ? choose_tile<bf16, false, true>(args, stream)
                             : choose_tile<bf16, false, false>(args, stream);
  }
  if (halves && !args.b_transposed && args.b_dtype == DType::bf16) return choose_tile<bf16, true, false>(args, stream);
  return args.a_dtype == DType::bf16 ? plain<bf16>(args, stream) : plain<float>(args, stream);
}

// Reads rows * cols elements once, one addition each; a block computes kSumCols columns.
template <typename T>
__global__ void __launch_bounds__(kSumRows* kSumCols)
    column_sum(const T* __restrict__ dy, int64_t rows, int64_t cols, float* __restrict__ sum) {
  using Partial = float[kSumRows][kSumCols];
  RUBRICATE_SHARED(Partial, partial);
  const int lane = static_cast<int>(threadIdx.x) % kSumCols, chain = static_cast<int>(threadIdx.x) / kSumCols;
  const int64_t col = static_cast<int64_t>(blockIdx.x) * kSumCols + lane;
  float total = 0.0f;
  if (col < cols)
    for (int64_t row = chain; row < rows; row += kSumRows) total += widen(dy[row * cols + col]);
  partial[chain][lane] = total;
  __syncthreads();
  if (chain > 0 || col >= cols) return;
  total = sum[col];
#pragma unroll
  for (int i = 0; i < kSumRows; ++i) total += partial[i][lane];
  sum[col] = total;
}

int32_t column_sum_cuda(const ColumnSumArgs& args, RubricateStream* stream) {
  if (args.cols == 0 || args.rows == 0) return RUBRICATE_OK;
  const unsigned blocks = blocks_for(args.cols, kSumCols);
  if (args.dtype == DType::bf16)
    return RUBRICATE_LAUNCH(column_sum<bf16>, blocks, kSumRows * kSumCols, 0, stream, static_cast<const bf16*>(args.dy),
                            args.rows, args.cols, args.sum);
  return RUBRICATE_LAUNCH(column_sum<float>, blocks, kSumRows * kSumCols, 0, stream, static_cast<const float*>(args.dy),
                          args.rows, args.cols, args.sum);
}

RUBRICATE_KERNEL("matmul/2", matmul_cuda);
RUBRICATE_KERNEL("column_sum/1", column_sum_cuda);

}  // namespace
}  // namespace rubricate::cuda
