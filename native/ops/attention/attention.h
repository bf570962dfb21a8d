// Causal attention with grouped key/value heads, over packed sequences, with online softmax: the score matrix is never
// stored (Dao et al. 2022; Ainslie et al. 2023).
//
//   o[t, h] = sum_j p[t, j] v[j, h'],  p[t, .] = softmax_j(scale * q[t, h] . k[j, h'] ),  h' = h / (heads / kv_heads)
//   over the keys j of t's own sequence with position(j) <= position(t), with a window only the last `window` of them:
//   position(t) - position(j) < window (Beltagy et al. 2020; Jiang et al. 2023).
//   backward: D[t] = dO[t] . o[t];  ds = p (dO . v - D);  dq += scale ds k;  dk += scale ds q;  dv += p dO
//
// q, o [T, heads * head_dim]; k, v [T, kv_heads * head_dim]; f32 or bf16; fp32 inside (scores, softmax and sums),
// rounded once. Keys are visited in blocks of 64 at absolute positions of their sequence, in order, without the blocks
// that a window excludes for all rows; so a row's result has the same bits alone or in a batch, cached or not, prefilled whole or in chunks, on any number of threads. The
// sums of dk and dv over queries, and over the query heads of a group, run in ascending order.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/tape.h"
#include "ops/attention/attention_kernels.h"

namespace rubricate {

class DeviceCopies;

// starts: int32 [sequences + 1], first row of each sequence, then T (the caller keeps them alive until backward has
// run); a sequence may be empty. Only the gradients that inputs require are computed.
// copies: those of the forward that has these starts, or null.
// Errors: ERR_SHAPE, ERR_ARGUMENT (starts), ERR_DTYPE, ERR_FOREIGN, ERR_ABORTED.
Var attention(Tape& tape, const Var& q, const Var& k, const Var& v, const AttentionShape& shape, int64_t sequences,
              const int32_t* starts, const std::shared_ptr<DeviceCopies>& copies = nullptr);

// Keys and values in pages of kKeyBlock positions, for all layers; `layer` is the one that is meant. A layer of a page
// has 2 * kv_heads * kKeyBlock * head_dim elements of the compute dtype: first the keys, for each kv head in panels of 16 keys, transposed: [kv_heads, kKeyBlock / 16,
// head_dim, 16], so that decoding reads 16 keys of one component in one vector; then the values, [kv_heads, kKeyBlock,
// head_dim]. On a device keys are stored in rows, like values.
struct PagedKeys {
  DType dtype = DType::f32;
  void* const* pages = nullptr;  // [page_count]: address of each page, on the tape's device; null: none
  int64_t page_count = 0;
  int64_t layers = 1, layer = 0, layer_bytes = 0;  // layer l of a page begins l * layer_bytes after its address
  const int32_t* page_table = nullptr;             // [sequences, pages_per_sequence]: index into pages
  int64_t pages_per_sequence = 0;
  const int32_t* past = nullptr;         // [sequences]: positions already in the cache before this batch
  std::shared_ptr<DeviceCopies> copies;  // those of the forward, of starts, past and the pages of all layers; or null
};
// Writes the batch's new keys and values [T, kv_heads * head_dim] into their pages, at positions past[s] + 0, 1, ...
// Errors: ERR_SHAPE (also pages that are missing or too few), ERR_ARGUMENT (starts), ERR_DTYPE.
void store_keys(Tape& tape, const Tensor& k, const Tensor& v, const AttentionShape& shape, int64_t sequences,
                const int32_t* starts, const PagedKeys& cache);
// The same attention against the cache, which already holds the new keys; inference only. q, result [T, heads *
// head_dim]. Errors: as store_keys, and ERR_ABORTED.
Tensor attention_paged(Tape& tape, const Tensor& q, const AttentionShape& shape, int64_t sequences,
                       const int32_t* starts, const PagedKeys& cache);

}  // namespace rubricate
