// The second half of a block: the feed-forward and its linear layers, three with a gate, two without.
#pragma once

#include <cstdint>
#include <utility>

#include "model/block_input.h"
#include "model/edited_linear.h"
#include "model/weight_loader.h"
#include "ops/gelu/gelu.h"

namespace rubricate {

struct FeedForward {
  int64_t layer = 0;
  DType compute = DType::f32;
  bool gated = true;
  GeluKind activation = GeluKind::tanh;       // without a gate
  LinearLayer gate_proj, up_proj, down_proj;  // gate_proj: undefined without a gate

  static FeedForward load(const WeightLoader& weights, const Architecture& architecture, int64_t layer, DType compute);
  // Returns the new residual stream and its norm. Takes ownership of `normed`, so that down_proj can reuse its memory.
  std::pair<Var, Var> forward(Tape& tape, const Var& residual, Var normed, const EditedNorm& next,
                              const BlockInput& in) const;

 private:
  // swiglu(gate, up), or gelu(up)
  Var activated(Tape& tape, const Var& normed, const BlockInput& in) const;
};

}  // namespace rubricate
