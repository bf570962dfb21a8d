// Kernels of attention.h. One small matmul serves all of them; the other code handles rows and masks. Inner loops run
// over 16 keys (scores) or 16 components of a head (sums of values), never over a reduction. So an element is one chain
// of multiply-adds, the same in a tile of six rows as for a single row.

#include "ops/attention/attention_tiles.inl"

#include "ops/attention/attention_forward.inl"

#include "ops/attention/attention_backward.inl"
