// One state of an adapter's values, which no longer changes: what serving uses, while training goes on with the adapter
// that it was copied from.
#pragma once

#include <cstdint>
#include <memory>

#include "adapter/adapter.h"
#include "adapter/weight_products.h"

namespace rubricate {

class AdapterVersion {
 public:
  // Copies the adapter's present values, and makes the derived ones. Call it where no update runs: on the model's thread between two ops, or while
  // nothing trains the adapter; on the model's thread alone, with products of the model, if the plan reads the base's weights. Throws
  // ERR_OUT_OF_MEMORY, ERR_ABORTED.
  static std::shared_ptr<const AdapterVersion> of(const Adapter& adapter, const WeightProducts& products = {});
  AdapterVersion(const AdapterVersion&) = delete;
  AdapterVersion& operator=(const AdapterVersion&) = delete;

  int64_t id() const { return id_; }  // unique in this process, never reused; from 1 on
  const AdapterPlan& plan() const { return *plan_; }
  // The parameters and then the derived values, [plan().total()], in host memory.
  const float* values() const { return values_.data<float>(); }
  const Tensor& tensor() const { return values_; }  // the same, in one row
  int64_t bytes() const { return values_.bytes(); }
  bool has_norm() const { return has_norm_; }
  // Throws ERR_NOT_FINITE, which names the first number that is infinite or NaN: its parameter or derived value, and its place there.
  void require_finite() const;

 private:
  AdapterVersion(const Adapter& adapter, const WeightProducts& products);
  int64_t id_;
  std::shared_ptr<const AdapterPlan> plan_;
  bool has_norm_;
  Tensor values_;
};

}  // namespace rubricate
