// (IA)3's plan (arXiv 2205.05638), as lib/adapter/ia3_plan.ts writes it: at each site y = scale * y, or x = scale * x
// before the layer.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/test_model.h"

namespace rubricate::testing {

inline AdapterPlan ia3_plan(const Architecture& architecture, const std::vector<Site>& outputs,
                            const std::vector<Site>& inputs, const std::vector<int64_t>& layers) {
  AdapterPlan plan;
  const auto take = [&](const std::string& name, int64_t width) {
    plan.parameters.push_back({name, {width}, 1.0f, plan.count});
    plan.count += width;
    return static_cast<int32_t>(plan.parameters.size()) - 1;
  };
  for (const int64_t layer : layers) {
    for (const Site site : outputs) {
      AdapterPlan::SitePlan own{.layer = layer, .site = site};
      own.scale = take(site_name(layer, site) + ".scale", site_width(architecture, site));
      plan.sites.push_back(own);
    }
    for (const Site site : inputs) {
      AdapterPlan::SitePlan own{.layer = layer, .site = site};
      own.input_scale = take(site_name(layer, site) + ".input_scale", site_inputs(architecture, site));
      plan.sites.push_back(own);
    }
  }
  return plan;
}

// Random scales in all layers but the second.
inline std::shared_ptr<Adapter> random_ia3(const Model& model, uint64_t seed,
                                           const std::vector<Site>& outputs = {Site::k_proj, Site::v_proj},
                                           const std::vector<Site>& inputs = {Site::down_proj}) {
  auto adapter =
      std::make_shared<Adapter>(model.architecture(), ia3_plan(model.architecture(), outputs, inputs, {0, 2}));
  randomize(*adapter, seed);
  return adapter;
}

}  // namespace rubricate::testing
