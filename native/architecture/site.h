// The sites where an adapter can edit: the linear layers of a block, at most seven, with their names and sizes.
#pragma once

#include <cstdint>
#include <string>

#include "architecture/architecture.h"
#include "base/named.h"

namespace rubricate {

enum class Site : int32_t { q_proj = 0, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj };
constexpr int kSites = 7;
inline constexpr std::array<Named<Site>, kSites> kSiteNames{{{Site::q_proj, "q_proj"},
                                                             {Site::k_proj, "k_proj"},
                                                             {Site::v_proj, "v_proj"},
                                                             {Site::o_proj, "o_proj"},
                                                             {Site::gate_proj, "gate_proj"},
                                                             {Site::up_proj, "up_proj"},
                                                             {Site::down_proj, "down_proj"}}};
// "layers.3.mlp.down_proj"
std::string site_name(int64_t layer, Site site);
// Whether the architecture has the site: a feed-forward without a gate has no gate_proj.
bool has_site(const Architecture& architecture, Site site);
// Width of a site's output, and so of its vectors.
int64_t site_width(const Architecture& architecture, Site site);
// Width of its input.
int64_t site_inputs(const Architecture& architecture, Site site);

}  // namespace rubricate
