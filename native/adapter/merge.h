// Merges what an adapter does at a site (adapter/plan.h) into the site's own weight and bias.
//
// If all steps of a site are linear, the site computes y = W' x + b'. W' is its Jacobian and b' its value at x = 0:
//
//   W' = diag(scale) O (W I diag(input_scale) + factor B A + S + R)
//   b' = scale * output(W input(0) + b + branch(0)) + bias
//
// where I, R and O are the Jacobians of the steps of `input`, `branch` and `output`, and S is the sparse update. The steps' own forward and backward
// (ops/steps/steps.h) compute them: rows of W I are a backward of `input` that is seeded with rows of W, rows of R one of `branch` that is
// seeded with rows of the identity, and columns of O M are a forward of `output`. So a step that the tape knows needs no
// code here.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "adapter/adapter_version.h"
#include "adapter/plan.h"
#include "tensor/tensor.h"

namespace rubricate {

// A site of an adapter's version, to be merged.
class SiteMerge {
 public:
  // Errors: ERR_ARGUMENT (no such site); ERR_MERGE (a layer norm, or a step that is not linear).
  SiteMerge(const Architecture& architecture, std::shared_ptr<const AdapterVersion> version, int64_t layer, Site site);

  // The canonical name of W.
  std::string weight_name() const { return site_name(site_.layer, site_.site) + ".weight"; }
  // Writes W' (of a norm: its weight), computed in fp32 and rounded once to the dtype of `to`. to, from: [outputs, inputs], or
  // [width], on the CPU. Errors: ERR_SHAPE, ERR_ABORTED.
  void weight(const Tensor& to, const Tensor& from, const std::atomic<bool>& cancelled) const;
  // The same for b'. to: [outputs]; from: the same, or null for zeros. layer_weight: W, read only if `input` adds a vector.
  void bias(const Tensor& to, const Tensor* from, const std::function<Tensor()>& layer_weight,
            const std::atomic<bool>& cancelled) const;

 private:
  // A parameter or a derived value; null for -1.
  const float* values(int32_t index) const;
  // The steps as those of slot 1, frozen.
  SlotSteps placed(const PlanSteps& steps) const;
  // What is done to row `output` of W and needs no steps: before the steps of `output`, and after them.
  void change_row(float* row, int64_t inputs, int64_t output) const;
  void add_entries(float* row, int64_t output) const;
  void scale_row(float* row, int64_t inputs, int64_t output) const;
  void weight_with_steps(const Tensor& to, const Tensor& from, const std::atomic<bool>& cancelled) const;

  std::shared_ptr<const AdapterVersion> version_;
  const AdapterPlan::SitePlan& site_;
  const int64_t inputs_;
  SlotSteps input_, branch_, output_;
};

}  // namespace rubricate
