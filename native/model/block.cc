#include "model/block.h"

#include <string>
#include <utility>

#include "base/error.h"

namespace rubricate {

Block Block::load(const WeightLoader& weights, const Architecture& architecture, int64_t layer, DType compute) {
  const std::string prefix = "layers." + std::to_string(layer) + ".";
  Block block;
  block.input_norm = Norm::load(weights, architecture, prefix + "input_layernorm");
  block.post_norm = Norm::load(weights, architecture, prefix + "post_attention_layernorm");
  block.attention = AttentionBlock::load(weights, architecture, layer, compute);
  block.feed_forward = FeedForward::load(weights, architecture, layer, compute);
  return block;
}

std::pair<Var, Var> Block::forward(Tape& tape, const Var& residual, const Var& normed, const Norm& next_norm,
                                   const BlockInput& in) const {
  const int64_t layer = attention.layer;
  auto [middle, middle_normed] =
      attention.forward(tape, residual, normed, {post_norm, in.parts(layer, Site::post_norm)}, in);
  return feed_forward.forward(tape, middle, std::move(middle_normed),
                              {next_norm, in.parts(layer + 1, Site::input_norm)}, in);
}

LinearLayer& Block::linear(Site site) { return const_cast<LinearLayer&>(std::as_const(*this).linear(site)); }

const LinearLayer& Block::linear(Site site) const {
  switch (site) {
    case Site::q_proj:
      return attention.q_proj;
    case Site::k_proj:
      return attention.k_proj;
    case Site::v_proj:
      return attention.v_proj;
    case Site::o_proj:
      return attention.o_proj;
    case Site::gate_proj:
      return feed_forward.gate_proj;
    case Site::up_proj:
      return feed_forward.up_proj;
    case Site::down_proj:
      return feed_forward.down_proj;
    case Site::input_norm:
    case Site::post_norm:
      break;
  }
  fail("ERR_INTERNAL", "Expected a linear layer");
}

}  // namespace rubricate
