#include "model/feed_forward.h"

#include "ops/swiglu/swiglu.h"

namespace rubricate {

FeedForward FeedForward::load(const WeightLoader& weights, const Architecture& architecture, int64_t layer,
                              DType compute) {
  const auto& feed_forward = architecture.stack.feed_forward;
  FeedForward block;
  block.layer = layer;
  block.compute = compute;
  block.gated = feed_forward.gated();
  if (block.gated)
    block.gate_proj = weights.linear(layer, Site::gate_proj);
  else
    block.activation = feed_forward.kind == "gelu" ? GeluKind::exact : GeluKind::tanh;
  block.up_proj = weights.linear(layer, Site::up_proj);
  block.down_proj = weights.linear(layer, Site::down_proj);
  return block;
}

Var FeedForward::activated(Tape& tape, const Var& normed, const BlockInput& in) const {
  if (!gated)
    return gelu(tape, edited_linear(tape, normed, in.edited(up_proj, layer, Site::up_proj, compute), in.rows),
                activation);
  const std::vector<Var> both = edited_linears(
      tape, normed,
      {in.edited(gate_proj, layer, Site::gate_proj, compute), in.edited(up_proj, layer, Site::up_proj, compute)},
      in.rows);
  return swiglu(tape, both[0], both[1]);
}

std::pair<Var, Var> FeedForward::forward(Tape& tape, const Var& residual, Var normed, const EditedNorm& next,
                                         const BlockInput& in) const {
  Var inner = activated(tape, normed, in);
  normed = {};
  return closing_linear(tape, std::move(inner), in.edited(down_proj, layer, Site::down_proj, compute), residual, next,
                        in.rows);
}

}  // namespace rubricate
