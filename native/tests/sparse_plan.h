// Plans of sparse updates (ops/sparse_delta/sparse_delta.h), and adapters of them with random numbers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/test_model.h"

namespace rubricate::testing {

// About one entry in `one_of`, at random places.
inline std::vector<int32_t> random_indices(int64_t count, double one_of, uint64_t seed) {
  std::vector<int32_t> indices;
  for (int64_t i = 0; i < count; ++i)
    if (philox_uniform(seed, 5, static_cast<uint64_t>(i)) * one_of < 1.0) indices.push_back(static_cast<int32_t>(i));
  return indices;
}

// At these sites of the first layer and the third. seed: of the indices.
inline AdapterPlan sparse_plan(const Architecture& architecture, double one_of, uint64_t seed,
                               const std::vector<Site>& sites) {
  AdapterPlan plan;
  for (const int64_t layer : {0, 2})
    for (const Site site : sites) {
      const int64_t outputs = site_width(architecture, site), inputs = site_inputs(architecture, site);
      const std::vector<int32_t> indices = random_indices(outputs * inputs, one_of, ++seed);
      const auto count = static_cast<int64_t>(indices.size());
      AdapterPlan::SitePlan own;
      own.layer = layer;
      own.site = site;
      own.sparse_values = own.sparse_index = static_cast<int32_t>(plan.indices.size());
      const std::string name = site_name(layer, site);
      plan.parameters.push_back({name + ".delta", {count}, 0.0f, plan.count});
      plan.count += count;
      plan.indices.push_back(
          {name + ".index", std::make_shared<SparseIndex>(outputs, inputs, indices.data(), count, name.c_str())});
      plan.sites.push_back(own);
    }
  return plan;
}

inline std::shared_ptr<Adapter> random_sparse(const Model& model, double one_of, uint64_t seed,
                                              const std::vector<Site>& sites) {
  const Architecture& architecture = model.architecture();
  auto adapter = std::make_shared<Adapter>(architecture, sparse_plan(architecture, one_of, 100 * seed, sites));
  randomize(*adapter, seed);
  return adapter;
}

}  // namespace rubricate::testing
