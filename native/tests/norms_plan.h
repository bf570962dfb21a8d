// Plans with own vectors of the model's norms, as lib/adapter/methods/norms.ts and bitfit.ts write them.
#pragma once

#include <memory>
#include <string>

#include "tests/test_model.h"

namespace rubricate::testing {

struct NormsPlan {
  bool weights = true;
  bool biases = true;          // of norms that have one
  bool linear_biases = false;  // of linear layers, added to theirs
};

// At every norm of the model.
inline AdapterPlan norms_plan(const Architecture& architecture, const NormsPlan& parts = {}) {
  AdapterPlan plan;
  const auto take = [&](const std::string& name, int64_t width, float start) {
    plan.parameters.push_back({.name = name, .shape = {width}, .start = start, .offset = plan.count, .decays = false});
    plan.count += width;
    return static_cast<int32_t>(plan.parameters.size()) - 1;
  };
  for (int64_t layer = 0; layer <= architecture.stack.layers; ++layer)
    for (const auto& [site, site_text] : kSiteNames) {
      if (layer == site_layers(architecture, site) || !has_site(architecture, site)) continue;
      const std::string name = site_name(layer, site);
      const int64_t width = site_width(architecture, site);
      AdapterPlan::SitePlan own{.layer = layer, .site = site};
      if (!is_norm(site)) {
        if (!parts.linear_biases || layer == architecture.stack.layers) continue;
        own.bias = take(name + ".bias", width, 0.0f);
      } else {
        if (parts.weights) own.own_weight = take(name + ".weight", width, 1.0f);
        if (parts.biases && architecture.stack.norm.layer()) own.own_bias = take(name + ".bias", width, 0.0f);
        if (!own.replaces()) continue;
      }
      plan.sites.push_back(own);
    }
  return plan;
}

inline std::shared_ptr<Adapter> random_norms(const Model& model, uint64_t seed, const NormsPlan& parts = {}) {
  auto adapter = std::make_shared<Adapter>(model.architecture(), norms_plan(model.architecture(), parts));
  randomize(*adapter, seed);
  return adapter;
}

}  // namespace rubricate::testing
