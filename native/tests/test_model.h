// A tiny LLaMA with random weights, for native tests.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "adapter/adapter.h"
#include "model/model.h"
#include "tensor/conversion.h"
#include "tests/red_plan.h"
#include "tests/test_support.h"
#include "train/train_step.h"

namespace rubricate::testing {

struct TinyConfig {
  int64_t vocabulary = 61, hidden = 24, layers = 3, heads = 4, kv_heads = 2, head_dim = 6, feed_forward = 40,
          context = 300;
  bool tied = true, bias = false, head_norm = false;
  std::string window{};  // fields of attention: R"("window":8)"
  bool plain = false;    // LayerNorm, learned positions, GELU without a gate, a scale by layer, as GPT-2 may have them
};

inline std::string tiny_json(const TinyConfig& c) {
  std::string frequencies;
  for (int64_t i = 0; i < c.head_dim / 2; ++i)
    frequencies += (i == 0 ? "" : ",") +
                   std::to_string(std::pow(100.0, -2.0 * static_cast<double>(i) / static_cast<double>(c.head_dim)));
  const std::string norm = c.plain ? "layer" : "rms", activation = c.plain ? "gelu" : "swiglu";
  const std::string position =
      c.plain ? R"({"kind":"learned"})" : concat(R"({"kind":"rope","inv_freq":[)", frequencies, R"(],"factor":1})");
  const auto flag = [](bool value) { return value ? "true" : "false"; };
  return concat(R"({"version":1,"family":"llama","vocabulary":)", c.vocabulary, R"(,"hidden":)", c.hidden,
                R"(,"context":)", c.context, R"(,"tied_embeddings":)", flag(c.tied), R"(,"stacks":[{"layers":)",
                c.layers, R"(,"norm":{"kind":")", norm, R"(","eps":1e-5},"position":)", position,
                R"(,"attention":{"heads":)", c.heads, R"(,"kv_heads":)", c.kv_heads, R"(,"head_dim":)", c.head_dim,
                R"(,"scale":0.4,"mask":"causal","qkv_bias":)", flag(c.bias), R"(,"output_bias":)", flag(c.bias),
                c.head_norm ? R"(,"head_norm":true)" : "", c.plain ? R"(,"scale_by_layer":true)" : "",
                c.window.empty() ? "" : ",", c.window, R"(},"feed_forward":{"kind":")", activation, R"(","size":)",
                c.feed_forward, R"(,"bias":)", flag(c.bias), "}}]}");
}

// Made on the current device (see on_every_device). Matrices are uniform in +-1.5 / sqrt(inputs), stored as `stored`;
// vectors are around 1 (norms) or 0 (biases). change(name, tensor) may modify each tensor before the model gets it.
inline std::unique_ptr<Model> tiny_model(const TinyConfig& config, DType stored = DType::f32,
                                         DType compute = DType::f32,
                                         const std::function<void(const std::string&, const Tensor&)>& change = {}) {
  const Architecture architecture = Architecture::parse(tiny_json(config));
  const auto arena = std::make_shared<Arena>();
  std::map<std::string, TensorSource> tensors;
  uint64_t seed = 1;
  for (const TensorSpec& spec : tensor_specs(architecture)) {
    const bool norm = spec.name.find("norm") != std::string::npos;
    const double width = spec.shape.size() == 2 ? 1.5 / std::sqrt(static_cast<double>(spec.shape[1])) : 0.3;
    const Tensor tensor =
        random_tensor(arena, spec.shape, stored, ++seed, (norm ? 1.0 : 0.0) - width, (norm ? 1.0 : 0.0) + width);
    if (change) change(spec.name, tensor);
    tensors[spec.name] = {stored, spec.shape, tensor.raw(), std::make_shared<Tensor>(tensor)};
  }
  return std::make_unique<Model>(architecture, tensors, compute, Model::Taken(), device_arena());
}

inline std::vector<int32_t> tiny_tokens(int64_t count, uint64_t seed, int64_t vocabulary = 61) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i)
    tokens.push_back(
        static_cast<int32_t>(philox_uniform(seed, 7, static_cast<uint64_t>(i)) * static_cast<double>(vocabulary)));
  return tokens;
}

// A batch whose bounds fit its numbers.
inline Batch fitting_batch(BatchArrays arrays) {
  BatchBounds bounds;
  for (const int32_t token : arrays.tokens) bounds.vocabulary = std::max<int64_t>(bounds.vocabulary, token + 1);
  for (const int32_t slot : arrays.slots) bounds.adapters = std::max<int64_t>(bounds.adapters, slot);
  for (size_t s = 0; s + 1 < arrays.starts.size(); ++s)
    bounds.context = std::max<int64_t>(
        bounds.context, arrays.starts[s + 1] - arrays.starts[s] + (arrays.past.empty() ? 0 : arrays.past[s]));
  return {std::move(arrays), bounds};
}

// Concatenated sequences; each token's target is the next one.
inline MicroBatch tiny_batch(const std::vector<std::vector<int32_t>>& sequences, std::vector<int32_t> slots) {
  BatchArrays arrays{{}, {0}, std::move(slots), {}};
  std::vector<int32_t> targets;
  for (const auto& sequence : sequences) {
    for (size_t i = 0; i < sequence.size(); ++i) {
      arrays.tokens.push_back(sequence[i]);
      targets.push_back(i + 1 < sequence.size() ? sequence[i + 1] : -1);
    }
    arrays.starts.push_back(static_cast<int32_t>(arrays.tokens.size()));
  }
  return {fitting_batch(std::move(arrays)), std::move(targets)};
}

// A step whose first error is thrown.
inline std::vector<TenantResult> trained_step(Model& model, const std::vector<Tenant>& tenants,
                                              const std::vector<MicroBatch>& batches, bool recompute, bool update,
                                              const JobControl& control) {
  std::vector<TenantResult> results;
  for (const TenantOutcome& outcome : train_step(model, tenants, batches, {recompute, update}, control)) {
    if (outcome.error) throw *outcome.error;
    results.push_back(outcome.result);
  }
  return results;
}

// Random vectors: scales around 1, biases around 0.
inline void randomize(Adapter& adapter, uint64_t seed) {
  for (Parameter& parameter : adapter.parameters()) {
    ++seed;
    float* values = parameter.master.data<float>();
    for (int64_t i = 0; i < parameter.master.count(); ++i)
      values[i] =
          parameter.decay_target + static_cast<float>(1.2 * (philox_uniform(seed, 3, static_cast<uint64_t>(i)) - 0.5));
  }
}

// The linear layers.
inline std::vector<Site> all_sites() {
  std::vector<Site> sites;
  for (const auto& [site, name] : kSiteNames)
    if (!is_norm(site)) sites.push_back(site);
  return sites;
}
inline std::vector<Site> all_sites(const Architecture& architecture) {
  std::vector<Site> sites = all_sites();
  std::erase_if(sites, [&](Site site) { return !has_site(architecture, site); });
  return sites;
}

// RED edits at these sites (none: at every site) of the first layer and the third, with random vectors.
inline std::shared_ptr<Adapter> random_adapter(const Model& model, RedVariant variant, uint64_t seed,
                                               const std::vector<Site>& sites = {}) {
  const Architecture& architecture = model.architecture();
  auto adapter = red_adapter(architecture, variant, sites.empty() ? all_sites(architecture) : sites, {0, 2});
  randomize(*adapter, seed);
  return adapter;
}

// Copies of the gradients, or of the fp32 parameters, on the host.
inline std::vector<Tensor> copies(ParameterSet& parameters, bool gradients) {
  std::vector<Tensor> out;
  for (const Parameter& parameter : parameters.parameters())
    out.push_back((gradients ? parameter.grad : parameter.master).copied_to(test_arena()));
  return out;
}

}  // namespace rubricate::testing
