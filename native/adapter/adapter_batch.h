// The adapters of one batch: the parts of each site, and device copies of the values.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "adapter/adapter.h"
#include "adapter/parts.h"

namespace rubricate {

// Slot i + 1 is adapters[i]; null is an empty slot. An adapter with a layer norm shares a batch only with adapters of the
// same plan (AdapterPlan::has_norm); others may have any plans.
class AdapterBatch : public AdapterSet {
 public:
  // training: whether the parameters need gradients. arena: the job's; if it is on a device, the current values are
  // copied there. Errors: ERR_ARGUMENT, ERR_SHAPE (an adapter of another model).
  AdapterBatch(const Architecture& architecture, const std::vector<std::shared_ptr<Adapter>>& adapters, bool training,
               const std::shared_ptr<Arena>& arena);
  const SiteParts* at(int64_t layer, Site site) const override;
  // The i-th adapter's values and gradients on the batch's device: on the CPU the adapter itself, else its device copy.
  Adapter& placed(size_t i) const { return *placed_[i]; }
  // Download from the device, and wait for it: the gradients after all backward passes, the values after the update.
  void fetch_gradients() const;
  void fetch_values() const;

 private:
  void add(const AdapterPlan::SitePlan& plan, size_t slot, const Adapter& adapter);
  void add_steps(SiteParts& parts, const AdapterPlan::SitePlan& plan, size_t slot, const Adapter& adapter);
  // A constant of the slot's plan where the batch computes.
  Tensor constant(size_t slot, const AdapterPlan& plan, int32_t index);
  // The same for an index of its sparse updates; adapters of one plan share a copy.
  SparseIndex sparse_index(const AdapterPlan& plan, int32_t index);

  const bool training_;
  std::vector<std::unique_ptr<SiteParts>> parts_;  // [layers + 1, kSites]
  std::vector<std::shared_ptr<Adapter>> adapters_;
  std::vector<std::shared_ptr<Adapter>> placed_;     // the adapters themselves, or their device copies
  std::vector<std::shared_ptr<SlotVectors>> norms_;  // [layers + 1, kSites]: what the layer norms in `output` read
  std::shared_ptr<Arena> arena_;
  std::map<std::pair<size_t, int32_t>, Tensor> constants_;  // device copies by slot and index
  std::map<const int32_t*, Tensor> indices_;                // device copies by the address in host memory
};

}  // namespace rubricate
