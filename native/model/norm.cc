#include "model/norm.h"

#include "model/weight_loader.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/rms_norm/rms_norm.h"

namespace rubricate {

Norm Norm::load(const WeightLoader& weights, const Architecture& architecture, const std::string& name) {
  const auto& norm = architecture.stack.norm;
  return {norm.layer(), weights.vector(name + ".weight"), weights.vector(name + ".bias"), norm.eps};
}

Var EditedNorm::operator()(Tape& tape, const Var& x, const SequenceRows& rows) const {
  const auto& [layer, weight, bias, eps] = norm;
  if (parts != nullptr && parts->has_own_norm())
    return layer ? layer_norm(tape, x, {weight, bias}, parts->own_norm, rows, eps)
                 : rms_norm(tape, x, weight, parts->own_norm, rows, eps);
  if (parts != nullptr && parts->has_own_norm_view())
    return layer ? layer_norm(tape, x.value(), {weight, bias}, parts->own_norm_view, rows, eps)
                 : rms_norm(tape, x.value(), weight.value(), parts->own_norm_view, rows, eps);
  return layer ? layer_norm(tape, x, weight, bias, eps) : rms_norm(tape, x, weight, eps);
}

}  // namespace rubricate
