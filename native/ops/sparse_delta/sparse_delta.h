// y += x S^T: a sparse update of a linear layer, each row with the entries of its sequence's slot. W itself is neither copied nor
// changed, and no dense gradient of W is formed. Source: PaFi (Liao et al., arXiv 2305.16742), SaRA (Hu et al., arXiv 2409.06633).
//
//   forward   y[t, n] += sum_i v_i x[t, k_i]      over the entries i of row n
//   backward  dx[t, k] = sum_i v_i dy[t, n_i]     over the entries i of column k; dy goes on to y
//             dv_i += sum_t dy[t, n_i] x[t, k_i]
//
// x [T, inputs], y [T, outputs]: f32 or bf16. v [entries]: f32. Everything is computed in fp32. A sum of the forward is one chain
// from -0, columns ascending, and is added to y, which is rounded once; that of dx is one chain from -0, rows of S ascending,
// rounded once. dv: a sequence's rows are split into blocks of 64, counted from its first row; block sums are added to the
// sequence's sum in order, and the sequences' sums to the gradient in order, as in ops/row_sums/row_sums.h. So a row has the same
// bits alone and among rows of other slots, and the gradients are the same for every split into micro-batches. Rows of slots without
// an update keep their bits, and those of their gradients.
//
// Cost, with E entries: the forward, dx and dv have 2 E T operations each, where dense ones have 2 outputs inputs T; at 0.5 % they are
// 1/200. On the CPU rows are taken 64 at a time, transposed into the cache, so that one entry is four multiply-adds of 16 lanes
// (256 bytes read from the second-level cache, 8 or 12 of the index and the value). What is read and written of memory is what an
// elementwise op has: x and y once in the forward, dy twice and x and dx once in the backward, and E T / 64 sums of 4 bytes.
#pragma once

#include <memory>
#include <vector>

#include "autograd/tape.h"
#include "ops/shared/rows.h"
#include "ops/sparse_delta/sparse_index.h"

namespace rubricate {

// The entries of one slot, on the tape's device.
struct SparseUpdate {
  SparseIndex index;  // undefined: no update
  Var values;         // [entries]; without a slot: frozen
};

// One site's entries for each slot; element 0 has none.
struct SparseSlots {
  std::vector<SparseUpdate> slots;
};

// y plus the updates of its rows. Reuses y's memory if nothing else has it.
// Errors: ERR_SHAPE, ERR_DTYPE, ERR_ARGUMENT, ERR_FOREIGN, ERR_ABORTED.
Var add_sparse(Tape& tape, Var y, const Var& x, const SparseSlots& slots, const SequenceRows& rows);

}  // namespace rubricate
