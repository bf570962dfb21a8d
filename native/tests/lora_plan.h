// LoRA's plan (arXiv 2106.09685), as lib/adapter/lora_plan.ts writes it: at each site y += factor * B (A x).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/test_model.h"

namespace rubricate::testing {

inline AdapterPlan lora_plan(const Architecture& architecture, int64_t rank, float factor,
                             const std::vector<Site>& sites, const std::vector<int64_t>& layers) {
  AdapterPlan plan;
  const auto take = [&](const std::string& name, const Shape& shape) {
    plan.parameters.push_back({name, shape, 0.0f, plan.count});
    plan.count += element_count(shape);
    return static_cast<int32_t>(plan.parameters.size()) - 1;
  };
  for (const int64_t layer : layers)
    for (const Site site : sites) {
      AdapterPlan::SitePlan own;
      own.layer = layer;
      own.site = site;
      own.a = take(site_name(layer, site) + ".lora_A", {rank, site_inputs(architecture, site)});
      own.b = take(site_name(layer, site) + ".lora_B", {site_width(architecture, site), rank});
      own.factor = factor;
      plan.sites.push_back(own);
    }
  return plan;
}

// Updates of the first layer and the third, with random matrices.
inline std::shared_ptr<Adapter> random_lora(const Model& model, int64_t rank, uint64_t seed,
                                            const std::vector<Site>& sites = all_sites()) {
  auto adapter =
      std::make_shared<Adapter>(model.architecture(), lora_plan(model.architecture(), rank, 0.5f, sites, {0, 2}));
  randomize(*adapter, seed);
  return adapter;
}

}  // namespace rubricate::testing
