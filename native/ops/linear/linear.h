// y = x W^T + b: the matmul of a frozen or trainable weight.
//
//   forward   y[t, n]  = sum_k x[t, k] W[n, k] + b[n]          ("NT": rows of x against rows of W)
//   backward  dx[t, k] = sum_n dy[t, n] W[n, k]                ("NN")
//             dW[n, k] += sum_t dy[t, n] x[t, k]  (fp32)       ("TN"), db[n] += sum_t dy[t, n]
//
// x [T, K], y [T, N], W [N, K]. x and y are f32 or bf16; W is f32, bf16 or f16 and is read in place, with any
// alignment; panels of it are packed on the fly. Products of bf16 by bf16 are exact and accumulate in fp32; f32 x is
// multiplied in fp32 (a bf16 or f16 W widens exactly). y is rounded once, after the bias. If y is f32 and x bf16, dy is
// rounded to bf16 for dx and dW, so that they use the same matmul as y; db sums the unrounded dy.
//
// An output element is one unbroken chain of multiply-adds over k in ascending order (bf16 on AVX-512-BF16: over pairs
// of k): the same bits for T = 1 and T = 1,000, for any position of the row, any number of threads and any batch. The
// reduction is never split over threads. On a device's tensor cores the chain is over groups of 16 k; the hardware
// forms the sum within a group. All this holds for our own kernels. matmul_plan.h says when cuBLASLt is used instead;
// its order of sums is its own and depends on T.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "autograd/tape.h"
#include "autograd/weight.h"
#include "ops/linear/linear_kernels.h"

namespace rubricate {

// Source: torch.nn.functional.linear. bias: fp32 [N] or undefined. out: dtype of y, f32 or bf16.
// Errors: ERR_SHAPE, ERR_DTYPE, ERR_FOREIGN, ERR_ABORTED.
Var linear(Tape& tape, const Var& x, const Weight& weight, const Var& bias, DType out);

// One of several layers of the same x.
struct Linear {
  const Weight& weight;
  const Var& bias;
  DType out;
};
// linear() of each layer, with the same bits. For few rows of x on the CPU, all run in one parallel region, so that
// threads do not synchronize after each. Errors: as linear().
std::vector<Var> linears(Tape& tape, const Var& x, const std::vector<Linear>& layers);

// The matmul kernel, for ops that contain one (the head), on the CPU. Addresses may be unaligned, except bias. With
// args.accumulate the chain of an element starts from the value in C. So adding the parts of a split k, in order, gives
// the bits of the whole (bf16 on AVX-512-BF16: split at even k).
// Errors: ERR_DTYPE (accumulate into another dtype), ERR_OUT_OF_MEMORY.
void matmul_cpu(const MatmulArgs& args);
// The same in ranges of so many columns of C; calls `before` before each. The bits are the same, as an element is one chain
// over k whatever the range. `before` may run other matmuls: nothing is kept from one range to the next.
void matmul_in_ranges(const MatmulArgs& args, int64_t columns, const std::function<void()>& before);
// Columns of a range of about 20 ms on cores of 75 GFLOP/s, or more where A would be packed too often.
int64_t range_columns(const MatmulArgs& args);
// The same on the tape's device. On a CUDA device addresses are aligned to their elements. On the CPU in ranges, with a yield
// before each, while shorter jobs are under way (Tape::wanted).
void matmul(const Tape& tape, const MatmulArgs& args);
// Several matmuls with the same A, its sizes and its layout.
void matmuls_cpu(const std::vector<MatmulArgs>& products);

}  // namespace rubricate
