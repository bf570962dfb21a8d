#include "architecture/architecture.h"

#include <algorithm>

#include "architecture/site.h"
#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"

namespace rubricate {
namespace {

std::string choice(const JsonAt& at, std::initializer_list<const char*> allowed) {
  std::string expected;
  for (const char* option : allowed) {
    if (at.string() == option) return option;
    expected += (expected.empty() ? "" : " or ") + std::string(option);
  }
  at.reject(expected);
}

// A name for people and for the fingerprint: nothing is selected by it. Callers are this package's own families.
constexpr size_t kMaxLabel = 32;
std::string label(const JsonAt& at) {
  const std::string value = at.string();
  const bool fits = std::all_of(value.begin(), value.end(),
                                [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; });
  if (!fits || value.empty() || value.size() > kMaxLabel)
    at.reject(concat("1 to ", kMaxLabel, " characters of a to z, 0 to 9 and _"));
  return value;
}

float positive(const JsonAt& at, double most = limits::kMaxPositive) {
  const double value = at.number();
  if (!(value >= limits::kMinPositive && value <= most))
    at.reject(concat("a number from ", limits::kMinPositive, " to ", most));
  return static_cast<float>(value);
}

std::vector<float> inverse_frequencies(const JsonAt& at, int64_t half) {
  if (at.size() < 1 || at.size() > half) at.reject(concat("1 to ", half, " numbers (half of head_dim)"));
  std::vector<float> values;
  for (int64_t i = 0; i < at.size(); ++i) {
    values.push_back(positive(at.at(i), limits::kMaxFrequency));
  }
  return values;
}

Architecture::Position parse_position(const JsonAt& at, int64_t half) {
  const std::string kind = choice(at["kind"], {"rope", "learned"});
  if (kind == "learned") {
    at.expect_only({"kind"});
    return {kind, {}, 1.0f};
  }
  at.expect_only({"kind", "inv_freq", "factor"});
  return {kind, inverse_frequencies(at["inv_freq"], half), positive(at["factor"])};
}

// Some of a stack's layers, ascending.
std::vector<int64_t> layer_list(const JsonAt& at, int64_t layers) {
  if (at.size() < 1 || at.size() > layers) at.reject(concat("1 to ", layers, " layers"));
  std::vector<int64_t> values;
  for (int64_t i = 0; i < at.size(); ++i)
    values.push_back(at.at(i).integer(values.empty() ? 0 : values.back() + 1, layers - 1));
  return values;
}

void parse_window(const JsonAt& at, int64_t layers, Architecture::Attention& attention) {
  if (at.has("window")) attention.window = at["window"].integer(1, limits::kMaxContext);
  if (!at.has("window_layers")) return;
  if (!at.has("window")) at["window_layers"].reject("no such field without window");
  attention.window_layers = layer_list(at["window_layers"], layers);
}

Architecture::Stack parse_stack(const JsonAt& at) {
  at.expect_only({"layers", "norm", "position", "attention", "feed_forward"});
  Architecture::Stack stack;
  stack.layers = at["layers"].integer(1, limits::kMaxLayers);
  const JsonAt norm = at["norm"], position = at["position"], attention = at["attention"], ffn = at["feed_forward"];
  norm.expect_only({"kind", "eps"});
  stack.norm = {choice(norm["kind"], {"rms", "layer"}), positive(norm["eps"])};

  attention.expect_only({"heads", "kv_heads", "head_dim", "scale", "mask", "qkv_bias", "output_bias", "head_norm",
                         "scale_by_layer", "window", "window_layers"});
  stack.attention = {attention["heads"].integer(1, limits::kMaxHeads),
                     attention["kv_heads"].integer(1, limits::kMaxHeads),
                     attention["head_dim"].integer(2, limits::kMaxHeadDim),
                     positive(attention["scale"]),
                     choice(attention["mask"], {"causal"}),
                     attention["qkv_bias"].boolean(),
                     attention["output_bias"].boolean(),
                     attention.has("head_norm") && attention["head_norm"].boolean(),
                     attention.has("scale_by_layer") && attention["scale_by_layer"].boolean(),
                     0,
                     {}};
  parse_window(attention, stack.layers, stack.attention);
  if (stack.attention.heads % stack.attention.kv_heads != 0)
    attention["kv_heads"].reject(concat("a divisor of heads (", stack.attention.heads, ")"));
  if (stack.attention.head_dim % 2 != 0) attention["head_dim"].reject("an even integer");

  stack.position = parse_position(position, stack.attention.head_dim / 2);
  ffn.expect_only({"kind", "size", "bias"});
  stack.feed_forward = {choice(ffn["kind"], {"swiglu", "gelu", "gelu_tanh"}),
                        ffn["size"].integer(1, limits::kMaxIntermediate), ffn["bias"].boolean()};
  return stack;
}

}  // namespace

int64_t Architecture::Attention::window_of(int64_t layer) const {
  return window_layers.empty() || std::binary_search(window_layers.begin(), window_layers.end(), layer) ? window : 0;
}

Architecture Architecture::parse(const std::string& json) {
  const Json document = Json::parse(json, "architecture", {});
  const JsonAt at(document, "architecture", "ERR_CONFIG");
  at.expect_only({"version", "family", "vocabulary", "hidden", "context", "tied_embeddings", "stacks"});
  Architecture architecture;
  architecture.version = at["version"].integer(1, 1);
  architecture.family = label(at["family"]);
  architecture.vocabulary = at["vocabulary"].integer(1, limits::kMaxVocabulary);
  architecture.hidden = at["hidden"].integer(1, limits::kMaxHidden);
  architecture.context = at["context"].integer(1, limits::kMaxContext);
  architecture.tied_embeddings = at["tied_embeddings"].boolean();
  if (at["stacks"].size() != 1) at["stacks"].reject("one stack");
  architecture.stack = parse_stack(at["stacks"].at(0));
  return architecture;
}

std::vector<TensorSpec> tensor_specs(const Architecture& architecture) {
  const auto& attention = architecture.stack.attention;
  const auto& ffn = architecture.stack.feed_forward;
  const int64_t hidden = architecture.hidden;
  std::vector<TensorSpec> specs = {{"embed_tokens.weight", {architecture.vocabulary, hidden}}};
  const auto add_norm = [&](const std::string& name) {
    specs.push_back({name + ".weight", {hidden}});
    if (architecture.stack.norm.layer()) specs.push_back({name + ".bias", {hidden}});
  };
  add_norm("norm");
  if (architecture.stack.position.learned())
    specs.push_back({"embed_positions.weight", {architecture.context, hidden}});
  if (!architecture.tied_embeddings) specs.push_back({"lm_head.weight", {architecture.vocabulary, hidden}});
  for (int64_t l = 0; l < architecture.stack.layers; ++l) {
    const std::string prefix = "layers." + std::to_string(l) + ".";
    add_norm(prefix + "input_layernorm");
    add_norm(prefix + "post_attention_layernorm");
    const auto project = [&](Site site, int64_t outputs, int64_t inputs, bool bias) {
      specs.push_back({site_name(l, site) + ".weight", {outputs, inputs}});
      if (bias) specs.push_back({site_name(l, site) + ".bias", {outputs}});
    };
    const int64_t q = attention.heads * attention.head_dim, kv = attention.kv_heads * attention.head_dim;
    if (attention.head_norm) {
      specs.push_back({prefix + "self_attn.q_norm.weight", {attention.head_dim}});
      specs.push_back({prefix + "self_attn.k_norm.weight", {attention.head_dim}});
    }
    project(Site::q_proj, q, hidden, attention.qkv_bias);
    project(Site::k_proj, kv, hidden, attention.qkv_bias);
    project(Site::v_proj, kv, hidden, attention.qkv_bias);
    project(Site::o_proj, hidden, q, attention.output_bias);
    if (ffn.gated()) project(Site::gate_proj, ffn.size, hidden, ffn.bias);
    project(Site::up_proj, ffn.size, hidden, ffn.bias);
    project(Site::down_proj, hidden, ffn.size, ffn.bias);
  }
  return specs;
}

}  // namespace rubricate
