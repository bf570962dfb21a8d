// The first half of a block: self-attention and its four linear layers.
#pragma once

#include <cstdint>
#include <utility>

#include "model/block_input.h"
#include "model/edited_linear.h"
#include "model/weight_loader.h"
#include "ops/attention/attention.h"

namespace rubricate {

struct AttentionBlock {
  int64_t layer = 0;
  AttentionShape shape{};
  DType compute = DType::f32;
  LinearLayer q_proj, k_proj, v_proj, o_proj;
  Var q_norm, k_norm;  // fp32 [head_dim]; undefined if the architecture has no norms of heads
  float eps = 0.0f;    // of these norms

  static AttentionBlock load(const WeightLoader& weights, const Architecture& architecture, int64_t layer,
                             DType compute);
  // Returns the new residual stream and its norm.
  std::pair<Var, Var> forward(Tape& tape, const Var& residual, const Var& normed, const EditedNorm& next,
                              const BlockInput& in) const;

 private:
  // The concatenated outputs of all heads, before o_proj.
  Var attend(Tape& tape, const Var& normed, const BlockInput& in) const;
};

}  // namespace rubricate
