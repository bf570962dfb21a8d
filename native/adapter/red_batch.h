// The RED adapters of one batch: the parts of each site, and copies of their vectors where the batch computes.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "adapter/parts.h"
#include "adapter/red_adapter.h"

namespace rubricate {

// Copies of adapters on a device for batch after batch of inference, each made again once its adapter changed.
class RedCopies {
 public:
  explicit RedCopies(std::shared_ptr<Arena> arena) : arena_(std::move(arena)) {}
  std::shared_ptr<RedAdapter> of(const std::shared_ptr<RedAdapter>& adapter);

 private:
  struct Copy {
    std::weak_ptr<RedAdapter> adapter;
    int64_t version = 0;
    std::shared_ptr<RedAdapter> copy;
  };
  std::shared_ptr<Arena> arena_;
  std::vector<Copy> copies_;
};

// The adapters of one batch: slot i + 1 is adapters[i]; a null one is an empty slot. Adapters must share one layout.
class RedBatch : public AdapterSet {
 public:
  // training: whether gradients of the vectors are wanted. arena: of the job; where it is on a device, the vectors are
  // copied there, as they are now; without training, `copies` may have them already.
  RedBatch(const Architecture& architecture, const std::vector<std::shared_ptr<RedAdapter>>& adapters, bool training,
           const std::shared_ptr<Arena>& arena, RedCopies* copies = nullptr);
  const SiteParts* at(int64_t layer, Site site) const override;
  // The i-th adapter's vectors and gradients where the batch computes: its own, or their copies on the device.
  RedAdapter& placed(size_t i) const { return *placed_[i]; }
  // Once all backwards have run, and once the copies are updated: brings home what is on a device. Waits for it.
  void fetch_gradients() const;
  void fetch_values() const;

 private:
  std::vector<std::unique_ptr<SiteParts>> parts_;  // [layers, kSites]
  std::vector<std::shared_ptr<RedAdapter>> adapters_;
  std::vector<std::shared_ptr<RedAdapter>> placed_;  // the same, or their copies on the device
};

}  // namespace rubricate
