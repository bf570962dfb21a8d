// The adapters of one batch: the parts of each site, and device copies of the values.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "adapter/adapter.h"
#include "adapter/derived.h"
#include "adapter/parts.h"
#include "adapter/weight_products.h"

namespace rubricate {

// Slot i + 1 is adapters[i]; null is an empty slot. An adapter with a layer norm shares a batch only with adapters of the
// same plan (AdapterPlan::has_norm); others may have any plans.
class AdapterBatch : public AdapterSet {
 public:
  // Makes the derived values of the current values. training: whether the parameters need gradients. control: the job's; if its arena is on a
  // device, both are copied there. weights: of the base; null only if no plan reads them; they must outlive the batch. Errors: ERR_ARGUMENT,
  // ERR_SHAPE (an adapter of another model), ERR_ABORTED.
  AdapterBatch(const Architecture& architecture, const std::vector<std::shared_ptr<Adapter>>& adapters, bool training,
               const JobControl& control, const BaseWeights* weights = nullptr);
  const SiteParts* at(int64_t layer, Site site) const override;
  bool mixes_initial() const override { return mixes_initial_; }
  // The i-th adapter's values and gradients on the batch's device: on the CPU the adapter itself, else its device copy.
  Adapter& placed(size_t i) const { return *placed_[i]; }
  // Once, after all backward passes: adds what the derived values' gradients give to those of the parameters, in placed() and in the
  // adapters themselves. Waits for a device.
  void finish_gradients() const;
  // Downloads the values after the update.
  void fetch_values() const;

 private:
  void add(const AdapterPlan::SitePlan& plan, size_t slot);
  void add_steps(SiteParts& parts, const AdapterPlan::SitePlan& plan, size_t slot);
  // A parameter or a derived value of the slot's adapter, with its gradient in training; undefined for -1.
  Var var(size_t slot, int32_t index) const;
  // A constant of the slot's plan where the batch computes.
  Tensor constant(size_t slot, const AdapterPlan& plan, int32_t index);
  // The same for an index of its sparse updates; adapters of one plan share a copy.
  SparseIndex sparse_index(const AdapterPlan& plan, int32_t index);

  const bool training_;
  bool mixes_initial_ = false;
  std::vector<std::unique_ptr<SiteParts>> parts_;  // [layers + 1, kSites]
  std::vector<std::shared_ptr<Adapter>> adapters_;
  std::vector<std::shared_ptr<Adapter>> placed_;         // the adapters themselves, or their device copies
  std::vector<std::unique_ptr<DerivedValues>> derived_;  // of each adapter; null: it has none
  std::vector<std::shared_ptr<SlotVectors>> norms_;      // [layers + 1, kSites]: what the layer norms in `output` read
  std::shared_ptr<Arena> arena_;
  WeightProducts products_;
  std::map<std::pair<size_t, int32_t>, Tensor> constants_;  // device copies by slot and index
  std::map<const int32_t*, Tensor> indices_;                // device copies by the address in host memory
};

}  // namespace rubricate
