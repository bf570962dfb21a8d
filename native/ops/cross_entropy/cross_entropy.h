// The output head fused with its cross-entropy, in chunks of rows: the logits of a whole batch are never stored, and
// rows without loss are not multiplied.
//
//   l[r] = logsumexp_v(z[r, v]) - z[r, target[r]],  z[r] = x[row[r]] W^T;   loss = sum_r weight[r] l[r]
//   dz[r, v] = weight[r] (softmax(z[r])[v] - [v = target[r]]);   dx[row[r]] = dz[r] W;   dW += dz^T x
//
// x [T, d] f32 or bf16; W [V, d]; z in fp32; dz is rounded to x's dtype before its matmuls. dx (and dW if W trains) is
// computed in the forward, while z is available; the backward multiplies by the gradient of the loss.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/tape.h"
#include "autograd/weight.h"

namespace rubricate {

struct LossRows {
  int64_t count = 0;                 // R
  const int32_t* rows = nullptr;     // [R] ascending, each once
  const int32_t* targets = nullptr;  // [R], 0 <= target < V
  const float* weights = nullptr;    // [R]: weight of each row's loss, for example 1 / supervised tokens of the step
};

struct CrossEntropy {
  Var loss;                          // fp32 [1]: sum of weight * loss, rows ascending, summed in double
  std::vector<float> row_loss;       // [R]: nats, unweighted
  std::vector<uint8_t> row_correct;  // [R]: 1 if the target has the largest logit (ties: the lowest id)
};

// Errors: ERR_SHAPE, ERR_DTYPE, ERR_ARGUMENT (a row or target out of range), ERR_FOREIGN, ERR_ABORTED.
CrossEntropy head_cross_entropy(Tape& tape, const Var& x, const Weight& head, const LossRows& rows);

// Rows whose logits are formed at a time.
int64_t head_rows_per_chunk(int64_t vocabulary);

// Logits of chosen rows, fp32 [R, V]; inference only.
Tensor head_logits(Tape& tape, const Tensor& x, const Weight& head, int64_t count, const int32_t* rows);

// Cross-entropy of given logits, for custom losses: logits [R, V] f32; mean over rows of -log softmax(target).
// Gradients flow to the logits. loss fp32 [1].
Var cross_entropy(Tape& tape, const Var& logits, const int32_t* targets);

}  // namespace rubricate
