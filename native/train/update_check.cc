#include "train/update_check.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "optimizer/gradient_norm.h"

namespace rubricate {
namespace {

// Far below float32's largest number, 3.4e38, so that neither rounding nor a bfloat16 weight overflows.
constexpr double kCertain = 1e37;
// So that its square, which enters the second moment, is finite too.
constexpr double kLargestGradient = 1e18;
// Below bfloat16's largest number.
constexpr double kLargestRounded = 3.38e38;

// Reads the tensors of the state and the parameters once, for their norms: no element is larger than its tensor's norm.
void find_bounds(OptimizerState& state, ParameterSet& parameters, const std::shared_ptr<Arena>& arena) {
  std::vector<Tensor> values;
  for (const Parameter& parameter : parameters.parameters()) values.push_back(parameter.master);
  state.value_bound = global_norm(values, arena);
  state.moment_bound = state.step == 0 ? 0.0 : global_norm(state.m);
}

// Whether the bounds prove that the update is finite. If so, updates the bounds to hold after it.
bool surely_finite(const Tenant& tenant, double norm, float scale) {
  OptimizerState& state = *tenant.optimizer;
  const AdamWOptions& options = tenant.options;
  const double gradient = 1.01 * norm * scale;
  const double moment = std::max(state.moment_bound, gradient);
  const double corrected = moment / (1.0 - std::pow(options.beta1, static_cast<double>(state.step + 1)));
  const double change = options.learning_rate * corrected / std::min(1.0, options.eps);
  const double decay = options.learning_rate * options.weight_decay;
  const double value = 1.01 * (std::max(state.value_bound, 1.0) + change);
  if (!(decay <= 1.0 && gradient < kLargestGradient && corrected < kCertain && value < kCertain)) return false;
  state.value_bound = std::max(state.value_bound, 1.0) * (1.0 + 1e-6) + change;
  state.moment_bound = moment;
  return true;
}

[[noreturn]] void refuse(const std::string& name) {
  fail("ERR_NOT_FINITE", "The step would make ", name,
       " or its moments infinite or NaN; nothing was updated: lower learningRate or weightDecay");
}

}  // namespace

float gradient_scale(const Tenant& tenant, double norm) {
  return tenant.max_grad_norm > 0.0 ? clip_factor(norm, tenant.max_grad_norm) : 1.0f;
}

void parameter_update(const Tenant& tenant, const Parameter& parameter, const UpdatedTensors& tensors, float scale) {
  AdamWOptions options = tenant.options;
  if (!parameter.decays) options.weight_decay = 0.0f;
  adamw_step(tensors.value, parameter.grad, tensors.m, tensors.v, tenant.optimizer->step + 1, options,
             tenant.decay_to_zero ? 0.0f : parameter.decay_target, scale);
}

void require_finite_update(const Tenant& tenant, ParameterSet& trained, double norm,
                           const std::shared_ptr<Arena>& arena) {
  OptimizerState& state = *tenant.optimizer;
  if (state.value_bound < 0.0) find_bounds(state, trained, arena);
  const float scale = gradient_scale(tenant, norm);
  if (surely_finite(tenant, norm, scale)) return;
  std::vector<Parameter>& parameters = trained.parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    const Tensor value = parameter.master.copied_to(arena);
    const Tensor m = state.m[i].copied_to(arena), v = state.v[i].copied_to(arena);
    parameter_update(tenant, parameter, {value, m, v}, scale);
    if (!std::isfinite(global_norm({value, m, v}, arena))) refuse(parameter.name);
    // A bfloat16 weight is rounded from its master, and may overflow when the master does not.
    if (parameter.publish && global_norm({value}, arena) > kLargestRounded) refuse(parameter.name);
  }
  state.value_bound = -1.0;  // the bounds no longer hold: the next step recomputes them
}

}  // namespace rubricate
