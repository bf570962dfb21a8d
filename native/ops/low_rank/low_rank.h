// y += factor * B (A x): a low-rank update of a linear layer's output, each row with the matrices of its sequence's slot.
// Source: LoRA (Hu et al., arXiv 2106.09685); factor is its alpha / rank.
//
//   forward   v[t, k] = factor * (sum_j x[t, j] A[k, j])        y[t, n] += sum_k v[t, k] B[n, k]
//   backward  dB[n, k] += sum_t dy[t, n] v[t, k]                d[t, k] = factor * (sum_n dy[t, n] B[n, k])
//             dA[k, j] += sum_t d[t, k] x[t, j]                 dx[t, j] = sum_k d[t, k] A[k, j]; dy goes on to y
//
// x [T, inputs], y [T, outputs]: f32 or bf16. A [rank, inputs], B [outputs, rank]: f32. Everything is computed in fp32, and
// y is rounded once. An element of y is one chain that starts from y, over k in ascending order; an element of dA and dB is
// one chain over the slot's rows in their order, over all its sequences and micro-batches. So a row has the same bits
// alone and among rows of other slots, and so have the gradients (with our own matmul: ops/linear/linear.h). Rows of slots
// without an update keep their bits, and those of their gradients.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "autograd/tape.h"
#include "ops/shared/rows.h"

namespace rubricate {

// The matrices of one slot, on the tape's device; their owner keeps them until the backward has run.
struct LowRankUpdate {
  const float* a = nullptr;  // null: no update
  const float* b = nullptr;
  int64_t rank = 0;
  float factor = 0.0f;
  std::shared_ptr<GradSlot> a_grad, b_grad;  // null: frozen
};

// One site's matrices for each slot; element 0 has none.
struct LowRankSlots {
  int64_t inputs = 0, outputs = 0;
  std::vector<LowRankUpdate> slots;
};

// y plus the updates of its rows. Reuses y's memory if nothing else has it.
// Errors: ERR_SHAPE, ERR_DTYPE, ERR_ARGUMENT, ERR_FOREIGN, ERR_ABORTED.
Var add_low_rank(Tape& tape, Var y, const Var& x, const LowRankSlots& slots, const SequenceRows& rows);

}  // namespace rubricate
