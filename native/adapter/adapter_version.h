// One state of an adapter's vectors, which no longer changes: what serving uses, while training goes on with the adapter
// that it was copied from.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "adapter/red_adapter.h"

namespace rubricate {

// Where the vectors of an adapter are within its values: the same for all adapters of one variant, sites and layers.
struct RedLayout {
  // Elements from the beginning of the values; -1: the variant has no such vector.
  struct SiteVectors {
    int64_t layer = 0;
    Site site = Site::down_proj;
    int64_t width = 0;
    int64_t scale = -1, bias = -1;             // of the edit
    int64_t norm_weight = -1, norm_bias = -1;  // of the layer norm after it
    bool operator==(const SiteVectors&) const = default;
  };
  std::vector<SiteVectors> sites;
  int64_t count = 0;  // elements of the values

  static RedLayout of(const RedAdapter& adapter);
  // Whether any site has a layer norm. Such versions share a batch only with versions of the same layout: their sites
  // round once more than others, so another sequence beside them would lose its bits.
  bool has_norm() const;
  bool operator==(const RedLayout&) const = default;
};

class AdapterVersion {
 public:
  // Copies the adapter's present values. Call it where no update runs: on the model's thread between two ops, or while
  // nothing trains the adapter. Throws ERR_OUT_OF_MEMORY.
  static std::shared_ptr<const AdapterVersion> of(const RedAdapter& adapter);
  AdapterVersion(const AdapterVersion&) = delete;
  AdapterVersion& operator=(const AdapterVersion&) = delete;

  int64_t id() const { return id_; }  // unique in this process, never reused; from 1 on
  const RedLayout& layout() const { return *layout_; }
  const float* values() const { return values_.data<float>(); }  // [layout().count], in host memory
  int64_t bytes() const { return values_.bytes(); }
  bool has_norm() const { return has_norm_; }
  // Throws ERR_NOT_FINITE, which names the first number that is infinite or NaN: its vector, and its place there.
  void require_finite() const;

 private:
  explicit AdapterVersion(const RedAdapter& adapter);
  int64_t id_;
  std::shared_ptr<const RedLayout> layout_;  // versions of one layout share it
  bool has_norm_;
  Tensor values_;
};

}  // namespace rubricate
