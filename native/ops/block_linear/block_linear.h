// y_b = x_b W_b^T: a linear layer of a block-diagonal matrix, block by block.
//
//   forward   y[t, b o + j] = sum_k x[t, b i + k] W[b, j, k]            0 <= b < n, 0 <= j < o, 0 <= k < i
//   backward  dx[t, b i + k] = sum_j dy[t, b o + j] W[b, j, k]          dW[b, j, k] += sum_t dy[t, b o + j] x[t, b i + k]
//
// x [T, n i], y [T, n o], W [n, o, i], all f32. Each element is one chain of the matmul (ops/linear/linear.h): a row has the
// same bits alone and among others.
#pragma once

#include "autograd/tape.h"

namespace rubricate {

// Errors: ERR_SHAPE, ERR_DTYPE, ERR_FOREIGN, ERR_ABORTED.
Var block_linear(Tape& tape, const Var& x, const Var& weight);

}  // namespace rubricate
