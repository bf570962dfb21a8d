// The sites where an adapter can edit: the linear layers of a block, at most seven, and the two norms before its
// sub-layers. The final norm counts as the first norm of one layer more: a norm is known by what it feeds.
#pragma once

#include <cstdint>
#include <string>

#include "architecture/architecture.h"
#include "base/named.h"

namespace rubricate {

enum class Site : int32_t { q_proj = 0, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, input_norm, post_norm };
constexpr int kSites = 9;
inline constexpr std::array<Named<Site>, kSites> kSiteNames{{{Site::q_proj, "q_proj"},
                                                             {Site::k_proj, "k_proj"},
                                                             {Site::v_proj, "v_proj"},
                                                             {Site::o_proj, "o_proj"},
                                                             {Site::gate_proj, "gate_proj"},
                                                             {Site::up_proj, "up_proj"},
                                                             {Site::down_proj, "down_proj"},
                                                             {Site::input_norm, "input_layernorm"},
                                                             {Site::post_norm, "post_attention_layernorm"}}};
constexpr bool is_norm(Site site) { return site == Site::input_norm || site == Site::post_norm; }
// Layers of the architecture at which a site exists: one more for the first norm of a layer.
int64_t site_layers(const Architecture& architecture, Site site);
// "layers.3.mlp.down_proj", "layers.3.input_layernorm". The final norm is "layers.N.input_layernorm", N being the number
// of layers.
std::string site_name(int64_t layer, Site site);
// Whether the architecture has the site: a feed-forward without a gate has no gate_proj.
bool has_site(const Architecture& architecture, Site site);
// Width of a site's output, and so of its vectors.
int64_t site_width(const Architecture& architecture, Site site);
// Width of its input.
int64_t site_inputs(const Architecture& architecture, Site site);

}  // namespace rubricate
