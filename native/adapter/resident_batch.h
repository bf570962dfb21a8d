// The adapters of a step of inference: one slot for each distinct version, and one table of addresses, filled once a
// step, from which the ops of all layers read. Work of a step: distinct versions x edited sites.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "adapter/adapter_version.h"
#include "adapter/parts.h"

namespace rubricate {

// Copies of versions on a device, within a number of bytes: the least recently used go first. A look-up does not depend
// on how many there are. On the CPU it copies nothing.
class DeviceVersions {
 public:
  // arena: of the device; without a stream of() returns the version's own values.
  DeviceVersions(std::shared_ptr<Arena> arena, int64_t bytes) : arena_(std::move(arena)), limit_(bytes) {}
  // The version's values where the model computes. Stays valid until trim().
  const float* of(const std::shared_ptr<const AdapterVersion>& version) { return tensor_of(version).data<float>(); }
  // The same as a tensor, [plan().total()], which keeps its memory.
  Tensor tensor_of(const std::shared_ptr<const AdapterVersion>& version);
  // A constant of a plan, and an index of its sparse updates, where the model computes: copied once, and kept while a version of
  // the plan is used. Not counted.
  Tensor constant_of(const AdapterPlan& plan, int32_t index) { return placed(plan.constants.tensor(index)); }
  SparseIndex sparse_of(const AdapterPlan& plan, int32_t index) {
    const SparseIndex& own = *plan.indices[static_cast<size_t>(index)].index;
    return own.with(placed(own.tables()));
  }
  // Ends a step: removes copies until the limit holds.
  void trim();
  int64_t bytes() const { return bytes_; }
  int64_t uploads() const { return uploads_; }  // so far

 private:
  struct Copy {
    int64_t id = 0;
    Tensor values;
  };
  std::shared_ptr<Arena> arena_;
  int64_t limit_, bytes_ = 0, uploads_ = 0;
  std::list<Copy> recent_;  // the most recently used first
  std::unordered_map<int64_t, std::list<Copy>::iterator> by_id_;
  struct Constant {
    Tensor host, copy;
    bool used = false;  // in this step
  };
  Tensor placed(Tensor host);
  std::map<const void*, Constant> constants_;  // by the address in host memory, which `host` keeps
};

class ResidentBatch : public AdapterSet {
 public:
  explicit ResidentBatch(const Architecture& architecture);
  // Whether a version's plan fits the model. Errors: ERR_ARGUMENT, ERR_SHAPE.
  void check(const AdapterVersion& version) const;

  // Begins a step; the versions and slots of the step before are forgotten.
  void clear();
  // The slot of a version in this step; null: slot 0. Versions with a layer norm share a step only with versions of the
  // same plan, and not with the base: the caller sees to that (ERR_INTERNAL).
  int32_t slot_of(const std::shared_ptr<const AdapterVersion>& version);
  int64_t slots() const { return static_cast<int64_t>(versions_.size()); }  // without slot 0
  // Fills the table, after the last slot_of() and before the forward. On a device it is uploaded in one copy, in memory
  // of `arena`.
  void place(DeviceVersions& copies, const std::shared_ptr<Arena>& arena);
  const SiteParts* at(int64_t layer, Site site) const override;
  bool mixes_initial() const override { return mixes_initial_; }

 private:
  // Numbers the sites of the step's versions. Returns one plan of each; scales: set to whether any scales its input.
  std::vector<const AdapterPlan::SitePlan*> number_sites(bool& scales);
  // Sets a slot's matrices of a site. values: the version's, where the model computes.
  void add(LowRankSlots& low_rank, int64_t slot, const AdapterPlan::SitePlan& site, const AdapterPlan& plan,
           const float* values) const;
  // The same for its sparse update.
  void add(SparseSlots& sparse, int64_t slot, const AdapterPlan::SitePlan& site, const AdapterPlan& plan,
           const Tensor& values, DeviceVersions& copies) const;

  // Sets a slot's steps of a site. values: the version's, where the model computes.
  void add_steps(SiteParts& parts, int64_t slot, const AdapterPlan::SitePlan& site, const AdapterPlan& plan,
                 const Tensor& values, DeviceVersions& copies);

  const Architecture& architecture_;
  bool mixes_initial_ = false;
  std::vector<std::shared_ptr<const AdapterVersion>> versions_;  // slot i + 1
  std::unordered_map<int64_t, int32_t> slot_by_id_;
  // [edited sites][rows][slots + 1]: scale and bias (at a norm of the model its own weight and bias), the layer norm's weight and bias if there are norms, and input_scale if any
  // site has one
  std::vector<const float*> table_;
  Tensor on_device_;
  std::vector<int32_t> site_index_;  // [(layers + 1) * kSites]: place among the edited sites; -1: not edited
  std::vector<SiteParts> parts_;     // [edited sites]
};

}  // namespace rubricate
