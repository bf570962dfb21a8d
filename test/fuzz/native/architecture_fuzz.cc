// Any text as an architecture: if it is accepted, the products of its sizes are far from overflow.
#include "architecture/architecture.h"

#include <string>

#include "base/limits.h"
#include "checks.h"

using namespace rubricate;

namespace {

void require_sane(const Architecture& architecture) {
  const auto& attention = architecture.stack.attention;
  if (architecture.vocabulary < 1 || architecture.hidden < 1 || attention.heads % attention.kv_heads != 0)
    fuzz::found("an impossible architecture");
  for (const float frequency : architecture.stack.position.inv_freq)
    if (!(frequency > 0.0f && frequency <= limits::kMaxFrequency)) fuzz::found("an impossible frequency");
  if (!(architecture.stack.norm.eps > 0.0f)) fuzz::found("an impossible eps");
  if (architecture.stack.layers > 64) return;  // the rest is the same for each
  for (const TensorSpec& spec : tensor_specs(architecture)) {
    int64_t bits = 64;
    for (const int64_t size : spec.shape)
      if (size < 1 || __builtin_mul_overflow(bits, size, &bits)) fuzz::found("an impossible shape:", spec.name.c_str());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  fuzz::check(size, 2 << 20, {"ERR_JSON", "ERR_CONFIG"}, [&] { require_sane(Architecture::parse(text)); });
  return 0;
}
