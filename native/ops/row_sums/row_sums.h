// Sums over rows into each slot's gradient: the gradients of vectors that all rows of a sequence share.
//
//   products[s, j] += sum_t grad[t, j] v[t, j]     plain[s, j] += sum_t grad[t, j]      over the rows t of slot s
//   v = x, or (x - mean[t]) * inv[t]
//
// The order is fixed. A sequence's rows are split into blocks of 64, counted from its first row. A block is one chain
// from zero, rows ascending; block sums are added to the sequence's sum in order; the sequences' sums are added to the
// slot's gradient in order. Threads share the work by blocks and columns, which does not change the bits.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "autograd/tape.h"
#include "ops/row_sums/row_sums_kernels.h"
#include "ops/shared/rows.h"
#include "ops/slots/slot_vectors.h"

namespace rubricate {

struct RowSums {
  Tensor x;                     // [T, d] f32 or bf16; undefined if no slot needs products
  Tensor grad;                  // [T, d] f32 or bf16
  const float* mean = nullptr;  // [T], or null: 0
  const float* inv = nullptr;   // [T], or null: 1
  // [slots] each: fp32 [d] to add to, or null if not required. Slot 0 is never summed.
  std::vector<float*> products, plain;
};

// The row sums for the slots' gradients: sums of products with x go to scale.grad, plain sums to bias.grad.
RowSums slot_sums(Tape& tape, const SlotVectors& slots, const SequenceRows& rows, const Tensor& x, const Tensor& grad);

// Adds the sums to the slots' gradients. make_rows (CPU only): called as make_rows(begin, end) to compute rows [begin,
// end) of `grad` just before they are summed, while they are in the cache. The ranges cover every row once; the calls
// come from any thread.
using MakeRows = std::function<void(int64_t begin, int64_t end)>;
void accumulate_row_sums(Tape& tape, const RowSums& sums, const SequenceRows& rows, const MakeRows& make_rows = {});

// The same on a device, in rounds of whole sequences, which bounds the memory for block sums. run(args, begin, end)
// queues a kernel that sums args' sequences, whose rows are [begin, end): "row_sums/1", or one that fuses it. With `dh`
// it also writes scale * grad; `scale` is by slot, or null. If nothing needs sums there is one round, and args.partials
// is null.
void sum_rounds_on_device(Tape& tape, const RowSums& sums, const SequenceRows& rows, const Tensor& dh,
                          const std::vector<const float*>& scale,
                          const std::function<void(const SlotSumsArgs& args, int64_t begin, int64_t end)>& run);

}  // namespace rubricate
