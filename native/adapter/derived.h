// Derived values: what a plan makes of an adapter's parameters (adapter/plan_derived.h) before the first micro-batch of a step, and of a
// version for serving. Their gradients are summed over all sites and micro-batches, and taken back to the parameters once, after
// the last micro-batch. Small, so both run on the CPU, in double, rounded once to fp32; a device gets the result. Products with
// a weight of the base alone are large: they run where the model is, in fp32.
//
//   einsum       m = o_1 o_2 ... o_n summed     do_k: adapter/einsum.h
//   unit         u = f v / |v|                  dv = f (du - v (v . du) / |v|^2) / |v|; 0 where v is 0 (as torch's normalize)
//   activation   t = f(v)                       dv = f'(v) dt
//   weight_product                              adapter/weight_products.h
//
// The values of an adapter, and its parameters' gradients, depend on nothing else in its batch. A parameter that several sites share
// through derived values, one for each, has the same gradient however its sequences are split: each value's gradient is one
// chain over its rows, and those are added in the order of the plan.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "adapter/adapter.h"
#include "adapter/plan.h"
#include "adapter/weight_products.h"
#include "autograd/var.h"

namespace rubricate {

// Fills `derived` [plan.derived_count] from `values` [plan.count]. products: of the model, if the plan reads its weights.
void derive(const AdapterPlan& plan, const float* values, float* derived, const WeightProducts& products = {});

// Adds to the gradients [plan.count] of the parameters what those [plan.derived_count] of the derived values give. derived: by derive().
void derive_backward(const AdapterPlan& plan, const float* values, const float* derived, const float* derived_gradients,
                     float* gradients, const WeightProducts& products = {});

// The derived values of one adapter in a batch.
class DerivedValues {
 public:
  // Of the adapter's present values, in memory of the arena. adapter: in host memory. gradients: whether they have any, 0 at first.
  DerivedValues(const Adapter& adapter, const WeightProducts& products, const std::shared_ptr<Arena>& arena,
                bool gradients);
  Var var(int32_t index) const { return vars_[static_cast<size_t>(index)]; }
  // Adds to the adapter's gradients what those of the derived values give. Call it once, before the values change.
  void take_back(const Adapter& adapter, const WeightProducts& products) const;

 private:
  std::vector<float> host_;
  Tensor values_, gradients_;
  std::vector<Var> vars_;
};

}  // namespace rubricate
