#include "train/train_step.h"

#include <cmath>
#include <cstring>

#include "ops/cross_entropy/cross_entropy.h"

namespace rubricate {
namespace {

// The rows of a micro-batch that carry loss.
struct Supervised {
  std::vector<int32_t> rows, targets, slots;
  std::vector<float> weights;
  LossRows loss_rows() const {
    return {static_cast<int64_t>(rows.size()), rows.data(), targets.data(), weights.data()};
  }
};

Supervised supervised_rows(const MicroBatch& batch, const std::vector<double>& slot_weight, int64_t vocabulary) {
  require(batch.targets.size() == batch.tokens.size(), "ERR_ARGUMENT", "Expected one target for each of ",
          batch.tokens.size(), " tokens but received ", batch.targets.size());
  require(batch.starts.size() >= 2, "ERR_ARGUMENT", "Expected at least one sequence but received none");
  Supervised supervised;
  for (size_t s = 0; s + 1 < batch.starts.size(); ++s) {
    const int32_t slot = batch.slots.empty() ? 0 : batch.slots.at(s);
    for (int32_t row = batch.starts[s]; row < batch.starts[s + 1]; ++row) {
      const int32_t target = batch.targets.at(static_cast<size_t>(row));
      if (target < 0) continue;
      require(target < vocabulary, "ERR_ARGUMENT", "Expected targets below ", vocabulary, " but received ", target);
      supervised.rows.push_back(row);
      supervised.targets.push_back(target);
      supervised.slots.push_back(slot);
      supervised.weights.push_back(static_cast<float>(slot_weight.at(static_cast<size_t>(slot))));
    }
  }
  return supervised;
}

std::vector<int64_t> count_supervised(const std::vector<MicroBatch>& micro_batches, size_t slots) {
  std::vector<int64_t> counts(slots, 0);
  for (const MicroBatch& batch : micro_batches) {
    require(batch.starts.size() >= 2 && batch.targets.size() == batch.tokens.size() &&
                batch.starts.back() == static_cast<int64_t>(batch.tokens.size()),
            "ERR_ARGUMENT", "Expected sequence starts and targets that fit the tokens");
    for (size_t s = 0; s + 1 < batch.starts.size(); ++s) {
      const int32_t slot = batch.slots.empty() ? 0 : batch.slots.at(s);
      require(slot >= 0 && slot < static_cast<int64_t>(slots), "ERR_ARGUMENT", "Expected slots from 0 to ", slots - 1,
              " but received ", slot);
      for (int32_t row = batch.starts[s]; row < batch.starts[s + 1]; ++row)
        counts[static_cast<size_t>(slot)] += batch.targets.at(static_cast<size_t>(row)) >= 0;
    }
  }
  return counts;
}

void prepare(Tape& tape, const JobControl& control) {
  tape.set_cancel_flag(control.cancelled);
  tape.set_yield(control.yield);
  tape.set_observer(control.observer);
}

void add_rows(EvaluationSums& sums, const Supervised& supervised, const CrossEntropy& result) {
  for (size_t r = 0; r < supervised.rows.size(); ++r) {
    const auto slot = static_cast<size_t>(supervised.slots[r]);
    sums.nats[slot] += static_cast<double>(result.row_loss[r]);
    sums.supervised[slot] += 1;
    sums.correct[slot] += result.row_correct[r];
  }
}

EvaluationSums empty_sums(size_t slots) {
  return {std::vector<double>(slots, 0.0), std::vector<int64_t>(slots, 0), std::vector<int64_t>(slots, 0)};
}

std::vector<std::shared_ptr<RedAdapter>> adapters_of(const std::vector<Tenant>& tenants) {
  std::vector<std::shared_ptr<RedAdapter>> adapters;
  for (const Tenant& tenant : tenants) {
    require(tenant.adapter != nullptr || tenants.size() == 1, "ERR_ARGUMENT",
            "Expected full fine-tuning to be the only training in its batch");
    if (tenant.adapter) adapters.push_back(tenant.adapter);
  }
  return adapters;
}

// Tenant i's parameters where the step computes.
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
    require(std::isfinite(gradient_norm({parameter.grad}, arena)), "ERR_NOT_FINITE", "The gradient of ", parameter.name,
            " is not finite; nothing was updated");
  fail("ERR_NOT_FINITE", "The gradient norm is ", norm, "; nothing was updated");
}

// trained: the tenant's parameters where the step computes; an adapter's are a whole, which one launch updates.
void update_parameters(const Tenant& tenant, ParameterSet& trained, double norm,
                       const std::shared_ptr<Stream>& stream) {
  const float scale = tenant.max_grad_norm > 0.0 ? clip_factor(norm, tenant.max_grad_norm) : 1.0f;
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
    AdamWOptions options = tenant.options;
    if (!parameters[i].decays) options.weight_decay = 0.0f;
    adamw_step(parameters[i].master, parameters[i].grad, state.m[i], state.v[i], step, options,
               tenant.decay_to_zero ? 0.0f : parameters[i].decay_target, scale);
    if (parameters[i].publish) parameters[i].publish();
  }
}

// Updates where the step computes; then all of it comes home.
void update_all(const std::vector<Tenant>& tenants, const RedBatch& edits, const std::vector<double>& norms,
                const std::shared_ptr<Stream>& stream) {
  for (const Tenant& tenant : tenants) tenant.optimizer->placed(stream);  // what may find no memory, before anything
  for (size_t i = 0; i < tenants.size(); ++i)
    update_parameters(tenants[i], trained_by(tenants[i], edits, i), norms[i], stream);
  edits.fetch_values();
  for (const Tenant& tenant : tenants) {
    tenant.optimizer->fetch();
    tenant.optimizer->step += 1;
    tenant.parameters->changed();
  }
}

}  // namespace

OptimizerState::OptimizerState(ParameterSet& parameters)
    : arena(std::make_shared<Arena>(parameters.parameters().front().master.shared_stream())) {
  if (const Parameter all = parameters.whole(); all.master.defined()) {
    const Shape& shape = all.master.shape();
    std::vector<float> targets;
    for (const Parameter& parameter : parameters.parameters())
      targets.insert(targets.end(), static_cast<size_t>(parameter.master.count()), parameter.decay_target);
    whole = {Tensor::zeros(arena, shape, DType::f32), Tensor::zeros(arena, shape, DType::f32),
             Tensor::from_host(arena, shape, DType::f32, targets.data())};
  }
  int64_t begin = 0;
  for (const Parameter& parameter : parameters.parameters()) {
    const Shape& shape = parameter.master.shape();
    m.push_back(whole.defined() ? whole.m.part(begin, shape) : Tensor::zeros(arena, shape, DType::f32));
    v.push_back(whole.defined() ? whole.v.part(begin, shape) : Tensor::zeros(arena, shape, DType::f32));
    begin += parameter.master.count();
  }
}

OptimizerState::Whole OptimizerState::Whole::copied_to(const std::shared_ptr<Arena>& there) const {
  return {m.copied_to(there), v.copied_to(there), decay_targets.copied_to(there)};
}

const OptimizerState::Whole& OptimizerState::placed(const std::shared_ptr<Stream>& stream) {
  if (!whole.defined() || whole.m.stream() == stream.get()) {
    placed_ = {};
    return whole;
  }
  if (!placed_is_whole_ || placed_.m.stream() != stream.get())
    placed_ = whole.copied_to(std::make_shared<Arena>(stream));
  placed_is_whole_ = true;
  return placed_;
}

void OptimizerState::fetch() {
  if (placed_.defined()) {
    copy_elements(whole.m, placed_.m);
    copy_elements(whole.v, placed_.v);
  }
  placed_is_whole_ = placed_.defined();
}

std::vector<TenantResult> train_step(Model& model, const std::vector<Tenant>& tenants,
                                     const std::vector<MicroBatch>& micro_batches, bool recompute, bool update,
                                     const JobControl& control) {
  require(!tenants.empty() && !micro_batches.empty(), "ERR_ARGUMENT",
          "Expected at least one adapter and one micro-batch");
  const std::vector<std::shared_ptr<RedAdapter>> adapters = adapters_of(tenants);
  const size_t slots = adapters.size() + 1;
  const std::vector<int64_t> counts = count_supervised(micro_batches, slots);
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
  EvaluationSums sums = empty_sums(slots);
  for (const MicroBatch& micro : micro_batches) {
    const Supervised supervised = supervised_rows(micro, slot_weight, model.architecture().vocabulary);
    const Batch batch = Batch::make(micro.tokens, micro.starts, micro.slots, {});
    Tape tape(control.arena, Tape::Mode::training);
    prepare(tape, control);
    const Var hidden = model.forward(tape, batch, adapters.empty() ? nullptr : &edits, recompute, nullptr);
    if (supervised.rows.empty()) continue;
    CrossEntropy result = head_cross_entropy(tape, hidden, model.head(), supervised.loss_rows());
    add_rows(sums, supervised, result);
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
  if (update) update_all(tenants, edits, norms, control.arena->shared_stream());
  return results;
}

EvaluationSums evaluate(const Model& model, const std::vector<std::shared_ptr<RedAdapter>>& adapters,
                        const std::vector<MicroBatch>& micro_batches, const JobControl& control) {
  const size_t slots = adapters.size() + 1;
  count_supervised(micro_batches, slots);  // checks the slots
  const RedBatch edits(model.architecture(), adapters, false, control.arena);
  EvaluationSums sums = empty_sums(slots);
  for (const MicroBatch& micro : micro_batches) {
    const Supervised supervised =
        supervised_rows(micro, std::vector<double>(slots, 1.0), model.architecture().vocabulary);
    if (supervised.rows.empty()) continue;
    const Batch batch = Batch::make(micro.tokens, micro.starts, micro.slots, {});
    Tape tape(control.arena, Tape::Mode::inference);
    prepare(tape, control);
    const Var hidden = model.forward(tape, batch, &edits, false, nullptr);
    add_rows(sums, supervised, head_cross_entropy(tape, hidden, model.head(), supervised.loss_rows()));
  }
  return sums;
}

}  // namespace rubricate
