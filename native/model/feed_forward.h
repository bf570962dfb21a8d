// The second half of a block: the gated feed-forward and its three linear layers.
#pragma once

#include <cstdint>
#include <utility>

#include "model/block_input.h"
#include "model/edited_linear.h"
#include "model/weight_loader.h"

namespace rubricate {

struct FeedForward {
  int64_t layer = 0;
  DType compute = DType::f32;
  LinearLayer gate_proj, up_proj, down_proj;

  static FeedForward load(const WeightLoader& weights, int64_t layer, DType compute);
  // Returns the new residual stream and its norm. Takes ownership of `normed`, so that down_proj can reuse its memory.
  std::pair<Var, Var> forward(Tape& tape, const Var& residual, Var normed, const SumNorm& norm,
                              const BlockInput& in) const;

 private:
  // swiglu(gate, up)
  Var gated(Tape& tape, const Var& normed, const BlockInput& in) const;
};

}  // namespace rubricate
