#include "adapter/resident_batch.h"

#include <algorithm>

#include "device/stream.h"
#include "ops/layer_norm/layer_norm.h"

namespace rubricate {
namespace {

size_t site_key(int64_t layer, Site site) { return static_cast<size_t>(layer * kSites + static_cast<int>(site)); }

// A row of the table for each vector that a site may have: of the edit, of the norm, of the input's scale.
constexpr int64_t kEditRows = 2, kNormRows = 2, kInputRows = 1;

}  // namespace

Tensor DeviceVersions::tensor_of(const std::shared_ptr<const AdapterVersion>& version) {
  if (arena_->stream() == nullptr) return version->tensor();
  const auto found = by_id_.find(version->id());
  if (found != by_id_.end()) {
    recent_.splice(recent_.begin(), recent_, found->second);
    return recent_.front().values;
  }
  Tensor values = Tensor::from_host(arena_, {version->plan().total()}, DType::f32, version->values());
  recent_.push_front({version->id(), std::move(values)});
  by_id_.emplace(version->id(), recent_.begin());
  bytes_ += recent_.front().values.bytes();
  ++uploads_;
  return recent_.front().values;
}

Tensor DeviceVersions::placed(Tensor host) {
  if (arena_->stream() == nullptr) return host;
  Constant& own = constants_[host.raw()];
  own.used = true;
  if (own.copy.defined()) return own.copy;
  own.copy = host.copied_to(arena_);
  own.host = std::move(host);
  return own.copy;
}

void DeviceVersions::trim() {
  // A step without the plan's versions drops its constants only if the values need the memory.
  if (bytes_ > limit_) std::erase_if(constants_, [](const auto& one) { return !one.second.used; });
  for (auto& [address, constant] : constants_) constant.used = false;
  while (bytes_ > limit_ && !recent_.empty()) {
    bytes_ -= recent_.back().values.bytes();
    by_id_.erase(recent_.back().id);
    recent_.pop_back();
  }
}

ResidentBatch::ResidentBatch(const Architecture& architecture)
    : architecture_(architecture), site_index_(static_cast<size_t>((architecture.stack.layers + 1) * kSites), -1) {}

void ResidentBatch::check(const AdapterVersion& version) const { version.plan().require_fits(architecture_); }

void ResidentBatch::clear() {
  versions_.clear();
  slot_by_id_.clear();
  std::fill(site_index_.begin(), site_index_.end(), -1);
  parts_.clear();
  on_device_ = {};
  mixes_initial_ = false;
}

int32_t ResidentBatch::slot_of(const std::shared_ptr<const AdapterVersion>& version) {
  if (!version) return 0;
  const auto [found, added] = slot_by_id_.emplace(version->id(), static_cast<int32_t>(versions_.size()) + 1);
  if (!added) return found->second;
  if (!versions_.empty()) {
    const AdapterVersion& first = *versions_.front();
    require(first.has_norm() == version->has_norm() && (!first.has_norm() || first.plan() == version->plan()),
            "ERR_INTERNAL", "Expected versions with a layer norm in steps of their own layout");
  }
  versions_.push_back(version);
  return found->second;
}

std::vector<const AdapterPlan::SitePlan*> ResidentBatch::number_sites(bool& scales) {
  std::vector<const AdapterPlan::SitePlan*> edited;
  for (const auto& version : versions_)
    for (const AdapterPlan::SitePlan& site : version->plan().sites) {
      scales = scales || site.scales_input();
      int32_t& index = site_index_[site_key(site.layer, site.site)];
      if (index >= 0) continue;
      index = static_cast<int32_t>(edited.size());
      edited.push_back(&site);
    }
  return edited;
}

void ResidentBatch::place(DeviceVersions& copies, const std::shared_ptr<Arena>& arena) {
  bool scales = false;
  const std::vector<const AdapterPlan::SitePlan*> edited = number_sites(scales);
  const bool norm = !versions_.empty() && versions_.front()->has_norm();
  const int64_t input_row = kEditRows + (norm ? kNormRows : 0), rows = input_row + (scales ? kInputRows : 0);
  const int64_t width = slots() + 1;
  table_.assign(edited.size() * static_cast<size_t>(rows * width), nullptr);
  parts_.resize(edited.size());
  std::vector<bool> edits(edited.size(), false);  // whether any version has a scale or a bias there
  std::vector<bool> scales_input(edited.size(), false);
  for (int64_t slot = 1; slot < width; ++slot) {
    const auto& version = versions_[static_cast<size_t>(slot - 1)];
    const Tensor placed = copies.tensor_of(version);
    const float* const values = placed.data<float>();
    for (const AdapterPlan::SitePlan& site : version->plan().sites) {
      const int64_t index = site_index_[site_key(site.layer, site.site)], first = index * rows;
      const auto set = [&](int64_t row, int32_t vector) {
        if (vector < 0) return;
        table_[static_cast<size_t>((first + row) * width + slot)] = values + version->plan().offset(vector);
      };
      if (site.edits()) edits[static_cast<size_t>(index)] = true;
      if (site.scales_input()) scales_input[static_cast<size_t>(index)] = true;
      set(input_row, site.input_scale);
      set(0, site.replaces() ? site.own_weight : site.scale);
      set(1, site.replaces() ? site.own_bias : site.bias);
      if (site.has_low_rank()) add(parts_[static_cast<size_t>(index)].low_rank, slot, site, version->plan(), values);
      if (site.has_sparse())
        add(parts_[static_cast<size_t>(index)].sparse, slot, site, version->plan(), placed, copies);
      if (site.has_steps()) add_steps(parts_[static_cast<size_t>(index)], slot, site, version->plan(), placed, copies);
      if (!norm) continue;
      set(2, site.norm_weight);
      set(3, site.norm_bias);
    }
  }
  const float* const* device = nullptr;
  if (Stream* stream = arena->stream(); stream != nullptr && !table_.empty()) {
    const auto bytes = static_cast<int64_t>(table_.size() * sizeof(const float*));
    on_device_ = Tensor::empty(arena, {(bytes + 3) / 4}, DType::i32);
    stream->upload(on_device_.raw(), table_.data(), bytes);
    device = static_cast<const float* const*>(on_device_.raw());
  }
  for (size_t e = 0; e < edited.size(); ++e) {
    const auto of = [&](const float* const* table, int64_t row) {
      return table != nullptr ? table + (static_cast<int64_t>(e) * rows + row) * width : nullptr;
    };
    const auto view = [&](int64_t row) {
      return EditView{width,
                      site_width(architecture_, edited[e]->site),
                      of(table_.data(), row),
                      of(table_.data(), row + 1),
                      of(device, row),
                      of(device, row + 1)};
    };
    if (scales_input[e])
      parts_[e].input_scale_view = {width,
                                    site_inputs(architecture_, edited[e]->site),
                                    of(table_.data(), input_row),
                                    nullptr,
                                    of(device, input_row),
                                    nullptr};
    if (edits[e]) parts_[e].view = view(0);  // not where all have a low-rank update alone
    if (is_norm(edited[e]->site)) parts_[e].own_norm_view = view(0);
    if (!norm || is_norm(edited[e]->site)) continue;
    parts_[e].output = [norm_view = view(2)](Tape& tape, const Var& y, const SequenceRows& sequence_rows) {
      return layer_norm(tape, y.value(), norm_view, sequence_rows, kEditNormEps);
    };
  }
}

void ResidentBatch::add(LowRankSlots& low_rank, int64_t slot, const AdapterPlan::SitePlan& site,
                        const AdapterPlan& plan, const float* values) const {
  low_rank.inputs = site_inputs(architecture_, site.site);
  low_rank.outputs = site_width(architecture_, site.site);
  low_rank.slots.resize(static_cast<size_t>(slots()) + 1);
  low_rank.slots[static_cast<size_t>(slot)] = {
      values + plan.offset(site.a), values + plan.offset(site.b), plan.rank(site), site.factor, nullptr, nullptr};
}

void ResidentBatch::add(SparseSlots& sparse, int64_t slot, const AdapterPlan::SitePlan& site, const AdapterPlan& plan,
                        const Tensor& values, DeviceVersions& copies) const {
  sparse.slots.resize(static_cast<size_t>(slots()) + 1);
  sparse.slots[static_cast<size_t>(slot)] = {
      copies.sparse_of(plan, site.sparse_index),
      Var(values.part(plan.offset(site.sparse_values), plan.shape(site.sparse_values)))};
}

void ResidentBatch::add_steps(SiteParts& parts, int64_t slot, const AdapterPlan::SitePlan& site,
                              const AdapterPlan& plan, const Tensor& values, DeviceVersions& copies) {
  const auto place = [&](SlotSteps& into, const PlanSteps& steps) {
    if (steps.empty()) return;
    mixes_initial_ = mixes_initial_ || rubricate::mixes_initial(steps);
    into.slots.resize(static_cast<size_t>(slots()) + 1);
    into.slots[static_cast<size_t>(slot)] = placed_steps(
        steps, [&](int32_t index) { return Var(values.part(plan.offset(index), plan.shape(index))); },
        [&](int32_t index) { return copies.constant_of(plan, index); });
  };
  place(parts.input_steps, site.input);
  place(parts.branch_steps, site.branch);
  place(parts.output_steps, site.output);
}

const SiteParts* ResidentBatch::at(int64_t layer, Site site) const {
  const int32_t index = site_index_[site_key(layer, site)];
  return index >= 0 ? &parts_[static_cast<size_t>(index)] : nullptr;
}

}  // namespace rubricate
