// The RED adapters of one batch: the parts of each site, and device copies of the vectors.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "adapter/parts.h"
#include "adapter/red_adapter.h"

namespace rubricate {

// The adapters of one batch: slot i + 1 is adapters[i]; null is an empty slot. All adapters must have the same variant,
// sites and layers.
class RedBatch : public AdapterSet {
 public:
  // training: whether the vectors need gradients. arena: the job's; if it is on a device, the current vectors are
  // copied there.
  RedBatch(const Architecture& architecture, const std::vector<std::shared_ptr<RedAdapter>>& adapters, bool training,
           const std::shared_ptr<Arena>& arena);
  const SiteParts* at(int64_t layer, Site site) const override;
  // The i-th adapter's vectors and gradients on the batch's device: on the CPU the adapter itself, else its device
  // copy.
  RedAdapter& placed(size_t i) const { return *placed_[i]; }
  // Download from the device, and wait for it: the gradients after all backward passes, the values after the update.
  void fetch_gradients() const;
  void fetch_values() const;

 private:
  std::vector<std::unique_ptr<SiteParts>> parts_;  // [layers, kSites]
  std::vector<std::shared_ptr<RedAdapter>> adapters_;
  std::vector<std::shared_ptr<RedAdapter>> placed_;  // the adapters themselves, or their device copies
};

}  // namespace rubricate
