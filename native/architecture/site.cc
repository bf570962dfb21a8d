#include "architecture/site.h"

#include "base/error.h"

namespace rubricate {

std::string site_name(int64_t layer, Site site) {
  static constexpr const char* names[kSites] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                                "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                                "mlp.down_proj"};
  return "layers." + std::to_string(layer) + "." + names[static_cast<int>(site)];
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
      return architecture.hidden;
  }
  fail("ERR_INTERNAL", "Unknown site");
}

}  // namespace rubricate
