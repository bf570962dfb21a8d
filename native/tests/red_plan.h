// RED's plan (arXiv 2402.15179v3; reference variants all, scaling, bias, ln), as lib/adapter/methods/red.ts writes it:
// at each site a scale and a bias, only one of them, or both followed by a layer norm.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "adapter/adapter.h"

namespace rubricate::testing {

enum class RedVariant { all, scale, bias, ln };

// layers: ascending.
inline AdapterPlan red_plan(const Architecture& architecture, RedVariant variant, std::vector<Site> sites,
                            const std::vector<int64_t>& layers) {
  AdapterPlan plan;
  const auto take = [&](const std::string& name, int64_t width, float start) {
    plan.parameters.push_back({name, {width}, start, plan.count});
    plan.count += width;
    return static_cast<int32_t>(plan.parameters.size()) - 1;
  };
  std::sort(sites.begin(), sites.end());
  for (const int64_t layer : layers)
    for (const Site site : sites) {
      AdapterPlan::SitePlan own;
      own.layer = layer;
      own.site = site;
      const std::string name = site_name(layer, site);
      const int64_t width = site_width(architecture, site);
      if (variant != RedVariant::bias) own.scale = take(name + ".scale", width, 1.0f);
      if (variant != RedVariant::scale) own.bias = take(name + ".bias", width, 0.0f);
      if (variant == RedVariant::ln) {
        own.norm_weight = take(name + ".ln.weight", width, 1.0f);
        own.norm_bias = take(name + ".ln.bias", width, 0.0f);
      }
      plan.sites.push_back(own);
    }
  return plan;
}

inline std::shared_ptr<Adapter> red_adapter(const Architecture& architecture, RedVariant variant,
                                            const std::vector<Site>& sites, const std::vector<int64_t>& layers) {
  return std::make_shared<Adapter>(architecture, red_plan(architecture, variant, sites, layers));
}

}  // namespace rubricate::testing
