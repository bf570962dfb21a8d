// One layer of a model: attention and feed-forward, with a norm before each.
#pragma once

#include <cstdint>
#include <utility>

#include "model/attention_block.h"
#include "model/feed_forward.h"

namespace rubricate {

struct Block {
  Norm input_norm, post_norm;
  AttentionBlock attention;
  FeedForward feed_forward;

  static Block load(const WeightLoader& weights, const Architecture& architecture, int64_t layer, DType compute);
  // normed: the residual stream after input_norm, computed by the previous block (or by the model). next_norm: the norm
  // after this block. Returns the new residual stream and its norm.
  std::pair<Var, Var> forward(Tape& tape, const Var& residual, const Var& normed, const Norm& next_norm,
                              const BlockInput& in) const;
  LinearLayer& linear(Site site);
  const LinearLayer& linear(Site site) const;
};

}  // namespace rubricate
