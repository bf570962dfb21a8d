// Tenants of a training step and comparisons of its results.
#pragma once

#include <memory>
#include <vector>

#include "doctest/doctest.h"
#include "tests/test_model.h"
#include "train/train_step.h"

namespace rubricate::testing {

inline Tenant tenant_of(const std::shared_ptr<Adapter>& adapter) {
  return {adapter, adapter, std::make_shared<OptimizerState>(*adapter), {}, 0.0};
}

inline Tenant full_tenant(Model& model) {
  auto parameters = model.make_trainable();
  return {nullptr, parameters, std::make_shared<OptimizerState>(*parameters), {}, 0.0};
}

inline void check_same(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) CHECK(same_bits(a[i], b[i]));
}

// Of all parameters, after a step without an update, on the CPU.
inline std::vector<Tensor> gradients(Model& model, const Tenant& tenant, const std::vector<MicroBatch>& batches,
                                     bool recompute) {
  trained_step(model, {tenant}, batches, recompute, false, {nullptr, {}, test_arena()});
  return copies(*tenant.parameters, true);
}

}  // namespace rubricate::testing
