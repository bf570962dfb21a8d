#include "train/train_step.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "adapter/adapter_batch.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "optimizer/gradient_norm.h"
#include "train/nuclear_norm.h"
#include "train/update_check.h"

namespace rubricate {
namespace {

std::vector<std::shared_ptr<Adapter>> adapters_of(const std::vector<Tenant>& tenants) {
  std::vector<std::shared_ptr<Adapter>> adapters;
  for (const Tenant& tenant : tenants) {
    require(tenant.adapter != nullptr || tenants.size() == 1, "ERR_ARGUMENT",
            "Expected full fine-tuning to be the only training in its batch");
    if (tenant.adapter) adapters.push_back(tenant.adapter);
  }
  return adapters;
}

// Tenant i's parameters, on the device that the step runs on.
ParameterSet& trained_by(const Tenant& tenant, const AdapterBatch& edits, size_t i) {
  if (tenant.adapter) return edits.placed(i);
  return *tenant.parameters;
}

std::vector<Tensor> gradients_of(ParameterSet& parameters) {
  std::vector<Tensor> gradients;
  for (const Parameter& parameter : parameters.parameters()) gradients.push_back(parameter.grad);
  return gradients;
}

// What an only tenant's step would have thrown, if that concerns the tenant alone.
template <typename Body>
std::optional<Error> failure_of(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    if (std::string_view(error.code()) != "ERR_NOT_FINITE") throw;
    return error;
  }
  return std::nullopt;
}

void check_gradient(ParameterSet& trained, double norm, const std::shared_ptr<Arena>& arena) {
  if (std::isfinite(norm)) return;
  for (const Parameter& parameter : trained.parameters())
    require(std::isfinite(global_norm({parameter.grad}, arena)), "ERR_NOT_FINITE", "The gradient of ", parameter.name,
            " is not finite; nothing was updated");
  fail("ERR_NOT_FINITE", "The gradient norm is ", norm, "; nothing was updated");
}

// Calls body(first element, elements, decays) for the runs of parameters that all decay or all do not.
template <typename Body>
void for_each_run(const std::vector<Parameter>& parameters, const Body& body) {
  int64_t begin = 0, count = 0;
  for (size_t i = 0; i < parameters.size(); ++i) {
    count += parameters[i].master.count();
    if (i + 1 < parameters.size() && parameters[i + 1].decays == parameters[i].decays) continue;
    body(begin, count, parameters[i].decays);
    begin += count;
    count = 0;
  }
}

// trained: the tenant's parameters on the step's device; an adapter's are contiguous, so one launch updates them, or one
// for each run that decays or does not.
void update_parameters(const Tenant& tenant, ParameterSet& trained, double norm,
                       const std::shared_ptr<Stream>& stream) {
  const float scale = gradient_scale(tenant, norm);
  OptimizerState& state = *tenant.optimizer;
  const int64_t step = state.step + 1;
  if (const Parameter all = trained.whole(); all.master.defined()) {
    const OptimizerState::Whole& moments = state.placed(stream);
    const bool own_targets = tenant.options.weight_decay > 0.0 && !tenant.decay_to_zero;
    state.updating();
    for_each_run(trained.parameters(), [&](int64_t begin, int64_t count, bool decays) {
      const auto part = [&](const Tensor& whole) { return whole.part(begin, {count}); };
      AdamWOptions options = tenant.options;
      if (!decays) options.weight_decay = 0.0f;
      adamw_step(part(all.master), part(all.grad), part(moments.m), part(moments.v), step, options, 0.0f, scale,
                 own_targets && decays ? part(moments.decay_targets) : Tensor());
    });
    return;
  }
  std::vector<Parameter>& parameters = trained.parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    parameter_update(tenant, parameter, {parameter.master, state.m[i], state.v[i]}, scale);
    if (parameters[i].publish) parameters[i].publish();
  }
}

// One step: its tenants, and what became of each.
class Step {
 public:
  Step(Model& model, const std::vector<Tenant>& tenants, const StepOptions& options, const JobControl& control)
      : model_(model),
        tenants_(tenants),
        options_(options),
        control_(control),
        adapters_(adapters_of(tenants)),
        bounds_(BatchBounds::of(model.architecture(), adapters_.size())),
        slots_(adapters_.size() + 1),
        first_slot_(adapters_.empty() ? 0 : 1),
        edits_(model.architecture(), adapters_, true, control, &model),
        sums_(slots_),
        outcomes_(tenants.size()),
        frozen_values_(tenants.size()) {}

  std::vector<TenantOutcome> run(const std::vector<MicroBatch>& given) {
    std::vector<MicroBatch> again;
    for (const MicroBatch& micro : begin(given, again)) {
      forward_backward(micro);
      if (!goes_on()) break;
    }
    if (goes_on()) finish();
    return std::move(outcomes_);
  }

 private:
  // Leaves out the tenants that cannot take part, and splits the sequences of the others.
  const std::vector<MicroBatch>& begin(const std::vector<MicroBatch>& given, std::vector<MicroBatch>& again) {
    counts_ = count_supervised(given, bounds_);
    Split split{adapters_.empty() ? 0 : most_rows(options_.max_rows, control_), options_.max_rows > 0, {}};
    split.left_out.resize(slots_);
    for (size_t i = 0; i < tenants_.size(); ++i) {
      if (tenants_[i].refused)
        outcomes_[i].error = tenants_[i].refused;
      else if (counts_[slot(i)] == 0)
        outcomes_[i].error = Error("ERR_DATA", "Expected at least one supervised token in the step's micro-batches");
      check_flag(i);
      if (outcomes_[i].error)
        split.left_out[slot(i)] = true;
      else
        tenants_[i].parameters->zero_grad();
    }
    slot_weight_.assign(slots_, 0.0);
    for (size_t s = 0; s < slots_; ++s)
      if (counts_[s] > 0) slot_weight_[s] = 1.0 / static_cast<double>(counts_[s]);
    const bool all = std::none_of(split.left_out.begin(), split.left_out.end(), [](bool out) { return out; });
    if (split.max_rows == 0 && all) return given;
    if (goes_on()) again = split_again(given, split, bounds_);
    return again;
  }

  void forward_backward(const MicroBatch& micro) {
    const Supervised supervised = supervised_rows(micro, slot_weight_);
    Tape tape(control_, Tape::Mode::training);
    const Var hidden =
        model_.forward(tape, micro.batch(), adapters_.empty() ? nullptr : &edits_, options_.recompute, nullptr);
    if (supervised.rows.empty()) return;
    CrossEntropy result = head_cross_entropy(tape, hidden, model_.head(), supervised.loss_rows());
    sums_.add(supervised, result);
    // A loss that is not finite is that of its own rows: neither the forward nor the backward mixes rows of sequences.
    for (size_t i = 0; i < tenants_.size(); ++i)
      if (taking_part(i) && !std::isfinite(sums_.nats[slot(i)]))
        outcomes_[i].error = Error("ERR_NOT_FINITE", "The loss is not finite; nothing was updated");
    if (goes_on()) tape.backward(result.loss);
  }

  // Checks everything that can fail before the first update: an update that began is finished for all.
  void finish() {
    edits_.finish_gradients();
    finish_own_gradients();
    if (control_.observer) control_.observer("update", false);
    std::vector<std::vector<Tensor>> gradients;
    for (size_t i = 0; i < tenants_.size(); ++i)
      if (taking_part(i)) gradients.push_back(gradients_of(trained(i)));
    const std::vector<double> norms = gradient_norms(gradients, control_.arena);
    auto norm = norms.begin();
    for (size_t i = 0; i < tenants_.size(); ++i) {
      if (!taking_part(i)) continue;
      const size_t s = slot(i);
      outcomes_[i].result = {sums_.nats[s] / static_cast<double>(counts_[s]), counts_[s], sums_.correct[s], *norm++};
      outcomes_[i].error =
          failure_of([&] { check_gradient(trained(i), outcomes_[i].result.grad_norm, control_.arena); });
    }
    if (control_.check_weights) control_.check_weights();
    if (control_.yield) control_.yield();
    for (size_t i = 0; i < tenants_.size(); ++i) check_flag(i);
    if (!options_.update) return;
    for (size_t i = 0; i < tenants_.size(); ++i)
      if (taking_part(i))
        outcomes_[i].error = failure_of(
            [&] { require_finite_update(tenants_[i], trained(i), outcomes_[i].result.grad_norm, control_.arena); });
    update();
  }

  // The gradient in the adapter's own memory is complete by now, and that on a device is a copy of it.
  void finish_own_gradients() {
    for (size_t i = 0; i < tenants_.size(); ++i) {
      const OptimizerState& state = *tenants_[i].optimizer;
      const std::vector<int32_t>& frozen = state.frozen;
      const bool has_norm = state.nuclear.factor != 0.0;
      if (!taking_part(i) || tenants_[i].adapter == nullptr || (frozen.empty() && !has_norm)) continue;
      if (has_norm) add_nuclear_gradient(*tenants_[i].adapter, state, control_);
      const Tensor own = tenants_[i].parameters->whole().grad, placed = trained(i).whole().grad;
      for (const int32_t place : frozen) own.data<float>()[place] = 0.0f;
      if (placed.stream() != nullptr) copy_elements(placed, own);
    }
  }

  // Shorter jobs may run between two tenants, and see each before or after its update.
  void update() {
    const std::shared_ptr<Stream> stream = control_.arena->shared_stream();
    for (size_t i = 0; i < tenants_.size(); ++i)
      if (taking_part(i)) tenants_[i].optimizer->placed(stream);  // may run out of memory: before any change
    for (size_t i = 0; i < tenants_.size(); ++i)
      if (taking_part(i)) tenants_[i].optimizer->half_updated = true;
    for (size_t i = 0; i < tenants_.size(); ++i) {
      if (!taking_part(i)) continue;
      keep_frozen(i);
      update_parameters(tenants_[i], trained(i), outcomes_[i].result.grad_norm, stream);
      if (stream == nullptr) updated(i);
      if (control_.yield) control_.yield();
    }
    if (stream != nullptr) fetch_updates();
  }

  // After all updates are queued, so that the device need not wait for the host between two of them. It may be lost until the
  // last download.
  void fetch_updates() {
    edits_.fetch_values();
    for (size_t i = 0; i < tenants_.size(); ++i)
      if (taking_part(i)) tenants_[i].optimizer->fetch();
    for (size_t i = 0; i < tenants_.size(); ++i)
      if (taking_part(i)) updated(i);
  }

  // The values that the update must not change: weight decay would.
  void keep_frozen(size_t i) {
    if (tenants_[i].optimizer->frozen.empty()) return;
    const float* const values = tenants_[i].parameters->whole().master.data<float>();
    for (const int32_t place : tenants_[i].optimizer->frozen) frozen_values_[i].push_back(values[place]);
  }

  void updated(size_t i) {
    OptimizerState& state = *tenants_[i].optimizer;
    if (control_.arena->stream() == nullptr) state.fetch();
    if (!state.frozen.empty()) {
      float* const values = tenants_[i].parameters->whole().master.data<float>();
      for (size_t at = 0; at < state.frozen.size(); ++at) values[state.frozen[at]] = frozen_values_[i][at];
    }
    state.step += 1;
    state.half_updated = false;
    tenants_[i].parameters->changed();
  }

  void check_flag(size_t i) {
    const auto& cancelled = tenants_[i].cancelled;
    if (taking_part(i) && cancelled && cancelled->load(std::memory_order_relaxed))
      outcomes_[i].error = Error("ERR_ABORTED", "The operation was aborted");
  }
  bool taking_part(size_t i) const { return !outcomes_[i].error; }
  bool goes_on() const {
    return std::any_of(outcomes_.begin(), outcomes_.end(), [](const TenantOutcome& one) { return !one.error; });
  }
  size_t slot(size_t i) const { return first_slot_ + i; }
  ParameterSet& trained(size_t i) const { return trained_by(tenants_[i], edits_, i); }

  Model& model_;
  const std::vector<Tenant>& tenants_;
  const StepOptions& options_;
  const JobControl& control_;
  const std::vector<std::shared_ptr<Adapter>> adapters_;
  const BatchBounds bounds_;
  const size_t slots_, first_slot_;
  const AdapterBatch edits_;
  SlotSums sums_;
  std::vector<int64_t> counts_;      // supervised tokens, by slot
  std::vector<double> slot_weight_;  // of a row's loss
  std::vector<TenantOutcome> outcomes_;
  std::vector<std::vector<float>> frozen_values_;  // of each tenant, before its update
};

}  // namespace

std::vector<TenantOutcome> train_step(Model& model, const std::vector<Tenant>& tenants,
                                      const std::vector<MicroBatch>& micro_batches, const StepOptions& options,
                                      const JobControl& control) {
  require(!tenants.empty() && !micro_batches.empty(), "ERR_ARGUMENT",
          "Expected at least one adapter and one micro-batch");
  require(options.max_rows >= 0, "ERR_ARGUMENT", "Expected 0 or more for maxRows but received ", options.max_rows);
  return Step(model, tenants, options, control).run(micro_batches);
}

}  // namespace rubricate
