#include "model/norm.h"

#include "model/weight_loader.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/rms_norm/rms_norm.h"

namespace rubricate {

Norm Norm::load(const WeightLoader& weights, const Architecture& architecture, const std::string& name) {
  const auto& norm = architecture.stack.norm;
  return {norm.layer(), weights.vector(name + ".weight"), weights.vector(name + ".bias"), norm.eps};
}

Var Norm::operator()(Tape& tape, const Var& x) const {
  return layer ? layer_norm(tape, x, weight, bias, eps) : rms_norm(tape, x, weight, eps);
}

}  // namespace rubricate
