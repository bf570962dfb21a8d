#include "model/feed_forward.h"

#include "ops/swiglu/swiglu.h"

namespace rubricate {

FeedForward FeedForward::load(const WeightLoader& weights, int64_t layer, DType compute) {
  FeedForward block;
  block.layer = layer;
  block.compute = compute;
  block.gate_proj = weights.linear(layer, Site::gate_proj);
  block.up_proj = weights.linear(layer, Site::up_proj);
  block.down_proj = weights.linear(layer, Site::down_proj);
  return block;
}

Var FeedForward::gated(Tape& tape, const Var& normed, const BlockInput& in) const {
  const std::vector<Var> both = edited_linears(
      tape, normed,
      {{gate_proj, in.parts(layer, Site::gate_proj), compute}, {up_proj, in.parts(layer, Site::up_proj), compute}},
      in.rows);
  return swiglu(tape, both[0], both[1]);
}

std::pair<Var, Var> FeedForward::forward(Tape& tape, const Var& residual, Var normed, const SumNorm& norm,
                                         const BlockInput& in) const {
  Var inner = gated(tape, normed, in);
  normed = {};
  return closing_linear(tape, std::move(inner), {down_proj, in.parts(layer, Site::down_proj), compute}, residual, norm,
                        in.rows);
}

}  // namespace rubricate
