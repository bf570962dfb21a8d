// Kernels of attention.h. One small matrix product serves all of them; everything else handles rows and masks.
// Inner loops run over 16 keys (scores) or 16 components of a head (sums of values), never over a reduction, so that an
// element is one chain of multiply-adds, the same in a tile of six rows as for a row alone.

#include "ops/attention/attention_tiles.inl"

#include "ops/attention/attention_forward.inl"

#include "ops/attention/attention_backward.inl"
