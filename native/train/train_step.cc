#include "train/train_step.h"

#include <cmath>

#include "adapter/red_batch.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "optimizer/gradient_norm.h"
#include "train/update_check.h"

namespace rubricate {
namespace {

std::vector<std::shared_ptr<RedAdapter>> adapters_of(const std::vector<Tenant>& tenants) {
  std::vector<std::shared_ptr<RedAdapter>> adapters;
  for (const Tenant& tenant : tenants) {
    require(tenant.adapter != nullptr || tenants.size() == 1, "ERR_ARGUMENT",
            "Expected full fine-tuning to be the only training in its batch");
    if (tenant.adapter) adapters.push_back(tenant.adapter);
  }
  return adapters;
}

// Tenant i's parameters, on the device that the step runs on.
ParameterSet& trained_by(const Tenant& tenant, const RedBatch& edits, size_t i) {
  if (tenant.adapter) return edits.placed(i);
  return *tenant.parameters;
}

std::vector<Tensor> gradients_of(ParameterSet& parameters) {
  std::vector<Tensor> gradients;
  for (const Parameter& parameter : parameters.parameters()) gradients.push_back(parameter.grad);
  return gradients;
}

void check_finite(ParameterSet& trained, double loss, double norm, const std::shared_ptr<Arena>& arena) {
  require(std::isfinite(loss), "ERR_NOT_FINITE", "The loss is ", loss, "; nothing was updated");
  if (std::isfinite(norm)) return;
  for (const Parameter& parameter : trained.parameters())
    require(std::isfinite(global_norm({parameter.grad}, arena)), "ERR_NOT_FINITE", "The gradient of ", parameter.name,
            " is not finite; nothing was updated");
  fail("ERR_NOT_FINITE", "The gradient norm is ", norm, "; nothing was updated");
}

// trained: the tenant's parameters on the step's device; an adapter's are contiguous, so one launch updates them.
void update_parameters(const Tenant& tenant, ParameterSet& trained, double norm,
                       const std::shared_ptr<Stream>& stream) {
  const float scale = gradient_scale(tenant, norm);
  OptimizerState& state = *tenant.optimizer;
  const int64_t step = state.step + 1;
  if (const Parameter all = trained.whole(); all.master.defined()) {
    const OptimizerState::Whole& moments = state.placed(stream);
    const bool own_targets = tenant.options.weight_decay > 0.0 && !tenant.decay_to_zero;
    state.updating();
    return adamw_step(all.master, all.grad, moments.m, moments.v, step, tenant.options, 0.0f, scale,
                      own_targets ? moments.decay_targets : Tensor());
  }
  std::vector<Parameter>& parameters = trained.parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    parameter_update(tenant, parameter, {parameter.master, state.m[i], state.v[i]}, scale);
    if (parameters[i].publish) parameters[i].publish();
  }
}

// Updates on the device that the step runs on, then downloads all results.
void update_all(const std::vector<Tenant>& tenants, const RedBatch& edits, const std::vector<double>& norms,
                const std::shared_ptr<Stream>& stream) {
  for (const Tenant& tenant : tenants) tenant.optimizer->placed(stream);  // may run out of memory: before any change
  for (const Tenant& tenant : tenants) tenant.optimizer->half_updated = true;
  for (size_t i = 0; i < tenants.size(); ++i)
    update_parameters(tenants[i], trained_by(tenants[i], edits, i), norms[i], stream);
  edits.fetch_values();
  for (const Tenant& tenant : tenants) {
    tenant.optimizer->fetch();
    tenant.optimizer->step += 1;
    tenant.optimizer->half_updated = false;
    tenant.parameters->changed();
  }
}

}  // namespace

std::vector<TenantResult> train_step(Model& model, const std::vector<Tenant>& tenants,
                                     const std::vector<MicroBatch>& micro_batches, bool recompute, bool update,
                                     const JobControl& control) {
  require(!tenants.empty() && !micro_batches.empty(), "ERR_ARGUMENT",
          "Expected at least one adapter and one micro-batch");
  const std::vector<std::shared_ptr<RedAdapter>> adapters = adapters_of(tenants);
  const size_t slots = adapters.size() + 1;
  const std::vector<int64_t> counts =
      count_supervised(micro_batches, BatchBounds::of(model.architecture(), adapters.size()));
  std::vector<double> slot_weight(slots, 0.0);
  for (size_t s = 0; s < slots; ++s)
    if (counts[s] > 0) slot_weight[s] = 1.0 / static_cast<double>(counts[s]);
  const size_t first_slot = adapters.empty() ? 0 : 1;
  for (size_t i = 0; i < tenants.size(); ++i) {
    require(counts[first_slot + i] > 0, "ERR_DATA",
            "Expected at least one supervised token in the step's micro-batches");
    tenants[i].parameters->zero_grad();
  }

  const RedBatch edits(model.architecture(), adapters, true, control.arena);
  SlotSums sums(slots);
  for (const MicroBatch& micro : micro_batches) {
    const Supervised supervised = supervised_rows(micro, slot_weight);
    Tape tape(control, Tape::Mode::training);
    const Var hidden = model.forward(tape, micro.batch(), adapters.empty() ? nullptr : &edits, recompute, nullptr);
    if (supervised.rows.empty()) continue;
    CrossEntropy result = head_cross_entropy(tape, hidden, model.head(), supervised.loss_rows());
    sums.add(supervised, result);
    require(std::isfinite(*result.loss.value().on_cpu().data<float>()), "ERR_NOT_FINITE",
            "The loss is not finite; nothing was updated");
    tape.backward(result.loss);
  }

  edits.fetch_gradients();
  if (control.observer) control.observer("update", false);
  std::vector<std::vector<Tensor>> gradients;
  for (size_t i = 0; i < tenants.size(); ++i) gradients.push_back(gradients_of(trained_by(tenants[i], edits, i)));
  const std::vector<double> norms = gradient_norms(gradients, control.arena);
  std::vector<TenantResult> results;
  for (size_t i = 0; i < tenants.size(); ++i) {
    const size_t s = first_slot + i;
    results.push_back({sums.nats[s] / static_cast<double>(counts[s]), counts[s], sums.correct[s], norms[i]});
    check_finite(trained_by(tenants[i], edits, i), results[i].loss, norms[i], control.arena);
  }
  if (control.check_weights) control.check_weights();
  for (size_t i = 0; update && i < tenants.size(); ++i)
    require_finite_update(tenants[i], trained_by(tenants[i], edits, i), norms[i], control.arena);
  if (update) update_all(tenants, edits, norms, control.arena->shared_stream());
  return results;
}

}  // namespace rubricate
