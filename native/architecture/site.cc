#include "architecture/site.h"

#include "base/error.h"

namespace rubricate {

std::string site_name(int64_t layer, Site site) {
  if (is_norm(site)) return concat("layers.", layer, ".", name_of(kSiteNames, site));
  const bool feed_forward = site == Site::gate_proj || site == Site::up_proj || site == Site::down_proj;
  return concat("layers.", layer, feed_forward ? ".mlp." : ".self_attn.", name_of(kSiteNames, site));
}

int64_t site_layers(const Architecture& architecture, Site site) {
  return architecture.stack.layers + (site == Site::input_norm ? 1 : 0);
}

bool has_site(const Architecture& architecture, Site site) {
  return site != Site::gate_proj || architecture.stack.feed_forward.gated();
}

int64_t site_width(const Architecture& architecture, Site site) {
  const auto& attention = architecture.stack.attention;
  switch (site) {
    case Site::q_proj:
      return attention.heads * attention.head_dim;
    case Site::k_proj:
    case Site::v_proj:
      return attention.kv_heads * attention.head_dim;
    case Site::gate_proj:
    case Site::up_proj:
      return architecture.stack.feed_forward.size;
    case Site::o_proj:
    case Site::down_proj:
    case Site::input_norm:
    case Site::post_norm:
      return architecture.hidden;
  }
  fail("ERR_INTERNAL", "Unknown site");
}

int64_t site_inputs(const Architecture& architecture, Site site) {
  if (site == Site::o_proj) return architecture.stack.attention.heads * architecture.stack.attention.head_dim;
  return site == Site::down_proj ? architecture.stack.feed_forward.size : architecture.hidden;
}

}  // namespace rubricate
