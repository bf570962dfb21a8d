#include "adapter/adapter_batch.h"

#include "ops/layer_norm/layer_norm.h"

namespace rubricate {
namespace {

// One layer more than the model has: its first norm is the final one.
size_t site_key(int64_t layer, Site site) { return static_cast<size_t>(layer * kSites + static_cast<int>(site)); }

void check_plans(const Architecture& architecture, const std::vector<std::shared_ptr<Adapter>>& adapters) {
  const Adapter* first = nullptr;
  for (const auto& adapter : adapters) {
    if (!adapter) continue;
    adapter->plan()->require_fits(architecture);
    if (first == nullptr) first = adapter.get();
    const bool norm = first->plan()->has_norm() || adapter->plan()->has_norm();
    require(!norm || *first->plan() == *adapter->plan(), "ERR_ARGUMENT",
            "Expected all adapters of a batch to have the same sites and layers, as one of them has layer norms");
  }
}

}  // namespace

AdapterBatch::AdapterBatch(const Architecture& architecture, const std::vector<std::shared_ptr<Adapter>>& adapters,
                           bool training, const JobControl& control, const BaseWeights* weights)
    : training_(training),
      adapters_(adapters),
      placed_(adapters),
      derived_(adapters.size()),
      arena_(control.arena),
      products_(weights, control) {
  parts_.resize(static_cast<size_t>((architecture.stack.layers + 1) * kSites));
  norms_.resize(parts_.size());
  check_plans(architecture, adapters);
  for (size_t i = 0; i < adapters.size(); ++i) {
    if (!adapters[i]) continue;
    if (arena_->stream() != nullptr) placed_[i] = std::make_shared<Adapter>(*adapters[i], arena_, training);
    if (!adapters[i]->plan()->derived.empty())
      derived_[i] = std::make_unique<DerivedValues>(*adapters[i], products_, arena_, training);
    for (const AdapterPlan::SitePlan& plan : placed_[i]->plan()->sites) add(plan, i + 1);
  }
}

Var AdapterBatch::var(size_t slot, int32_t index) const {
  if (index < 0) return {};
  const Adapter& adapter = *placed_[slot - 1];
  const auto parameters = static_cast<int32_t>(adapter.plan()->parameters.size());
  const Var own = index < parameters ? adapter.var(index) : derived_[slot - 1]->var(index - parameters);
  return training_ ? own : Var(own.value());
}

void AdapterBatch::add(const AdapterPlan::SitePlan& plan, size_t slot) {
  const size_t slots = adapters_.size() + 1, key = site_key(plan.layer, plan.site);
  if (!parts_[key]) parts_[key] = std::make_unique<SiteParts>();
  SiteParts& parts = *parts_[key];
  parts.trains = training_;
  const auto var = [&](int32_t index) { return this->var(slot, index); };
  if (plan.scales_input()) {
    parts.input_scale.slots.resize(slots);
    parts.input_scale.slots[slot].scale = var(plan.input_scale);
  }
  if (plan.edits()) {
    parts.affine.slots.resize(slots);
    parts.affine.slots[slot] = {var(plan.scale), var(plan.bias)};
  }
  if (plan.replaces()) {
    parts.own_norm.slots.resize(slots);
    parts.own_norm.slots[slot] = {var(plan.own_weight), var(plan.own_bias)};
  }
  if (plan.has_low_rank()) {
    const Var a = var(plan.a), b = var(plan.b);
    parts.low_rank.inputs = a.value().dim(1);
    parts.low_rank.outputs = b.value().dim(0);
    parts.low_rank.slots.resize(slots);
    parts.low_rank.slots[slot] = {
        a.value().data<float>(), b.value().data<float>(), a.value().dim(0), plan.factor, a.slot(), b.slot()};
  }
  if (plan.has_sparse()) {
    parts.sparse.slots.resize(slots);
    parts.sparse.slots[slot] = {sparse_index(*placed_[slot - 1]->plan(), plan.sparse_index), var(plan.sparse_values)};
  }
  if (plan.has_steps()) add_steps(parts, plan, slot);
  if (plan.has_norm()) {
    std::shared_ptr<SlotVectors>& norm = norms_[key];
    if (!norm) {
      norm = std::make_shared<SlotVectors>();
      norm->slots.resize(slots);
      parts.output = [norm](Tape& tape, const Var& y, const SequenceRows& rows) {
        return layer_norm(tape, y, *norm, rows, kEditNormEps);
      };
    }
    norm->slots[slot] = {var(plan.norm_weight), var(plan.norm_bias)};
  }
}

void AdapterBatch::add_steps(SiteParts& parts, const AdapterPlan::SitePlan& plan, size_t slot) {
  const auto place = [&](SlotSteps& into, const PlanSteps& steps) {
    if (steps.empty()) return;
    mixes_initial_ = mixes_initial_ || rubricate::mixes_initial(steps);
    into.slots.resize(adapters_.size() + 1);
    into.slots[slot] = placed_steps(
        steps, [&](int32_t index) { return var(slot, index); },
        [&](int32_t index) { return constant(slot, *placed_[slot - 1]->plan(), index); });
  };
  place(parts.input_steps, plan.input);
  place(parts.branch_steps, plan.branch);
  place(parts.output_steps, plan.output);
}

Tensor AdapterBatch::constant(size_t slot, const AdapterPlan& plan, int32_t index) {
  Tensor own = plan.constants.tensor(index);
  if (arena_->stream() == nullptr) return own;
  Tensor& copy = constants_[{slot, index}];
  if (!copy.defined()) copy = own.copied_to(arena_);
  return copy;
}

SparseIndex AdapterBatch::sparse_index(const AdapterPlan& plan, int32_t index) {
  const SparseIndex& own = *plan.indices[static_cast<size_t>(index)].index;
  if (arena_->stream() == nullptr) return own;
  Tensor& copy = indices_[own.starts()];
  if (!copy.defined()) copy = own.tables().copied_to(arena_);
  return own.with(copy);
}

void AdapterBatch::finish_gradients() const {
  for (size_t i = 0; i < adapters_.size(); ++i) {
    const bool copied = placed_[i] != adapters_[i];
    if (copied) copy_elements(adapters_[i]->gradients(), placed_[i]->gradients());
    if (!derived_[i]) continue;
    derived_[i]->take_back(*adapters_[i], products_);
    if (copied) copy_elements(placed_[i]->gradients(), adapters_[i]->gradients());
  }
}

void AdapterBatch::fetch_values() const {
  for (size_t i = 0; i < adapters_.size(); ++i)
    if (placed_[i] != adapters_[i]) copy_elements(adapters_[i]->values(), placed_[i]->values());
}

const SiteParts* AdapterBatch::at(int64_t layer, Site site) const { return parts_[site_key(layer, site)].get(); }

}  // namespace rubricate
