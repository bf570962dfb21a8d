#include "adapter/site.h"

namespace rubricate {

std::string site_name(int64_t layer, Site site) {
  static constexpr const char* names[kSites] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                                "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                                "mlp.down_proj"};
  return "layers." + std::to_string(layer) + "." + names[static_cast<int>(site)];
}

}  // namespace rubricate
