// LLaMA shapes and batches of random tokens, for workbenches.
#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/random.h"
#include "tensor/conversion.h"
#include "tests/red_plan.h"
#include "train/train_step.h"

namespace rubricate {

struct LlamaShape {
  int64_t vocabulary, hidden, layers, heads, feed_forward;
};

inline const std::map<std::string, LlamaShape>& llama_shapes() {
  static const std::map<std::string, LlamaShape> shapes = {{"15m", {32000, 288, 6, 6, 768}},
                                                           {"110m", {32000, 768, 12, 12, 2048}}};
  return shapes;
}

// The architecture document for Architecture::parse: RoPE with base 10,000, untied embeddings, no biases.
inline std::string json_of(const LlamaShape& s) {
  const int64_t head_dim = s.hidden / s.heads;
  std::string frequencies;
  for (int64_t i = 0; i < head_dim / 2; ++i)
    frequencies +=
        concat(i == 0 ? "" : ",", std::pow(1e4, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim)));
  return concat(R"({"version":1,"family":"llama","vocabulary":)", s.vocabulary, R"(,"hidden":)", s.hidden,
                R"(,"context":8192,"tied_embeddings":false,"stacks":[{"layers":)", s.layers,
                R"(,"norm":{"kind":"rms","eps":1e-5},"position":{"kind":"rope","inv_freq":[)", frequencies,
                R"(],"factor":1},"attention":{"heads":)", s.heads, R"(,"kv_heads":)", s.heads, R"(,"head_dim":)",
                head_dim, R"(,"scale":)", 1.0 / std::sqrt(static_cast<double>(head_dim)),
                R"(,"mask":"causal","qkv_bias":false,"output_bias":false},"feed_forward":{"kind":"swiglu","size":)",
                s.feed_forward, R"(,"bias":false}}]})");
}

inline std::unique_ptr<Model> random_model(const LlamaShape& shape, DType dtype) {
  const Architecture architecture = Architecture::parse(json_of(shape));
  const auto arena = std::make_shared<Arena>();
  std::map<std::string, TensorSource> tensors;
  for (const TensorSpec& spec : tensor_specs(architecture)) {
    const bool norm = spec.name.find("norm") != std::string::npos;
    Tensor wide = Tensor::empty(arena, spec.shape, DType::f32), stored = Tensor::empty(arena, spec.shape, dtype);
    uint32_t state = 1;
    for (int64_t i = 0; i < wide.count(); ++i) {
      state = state * 1664525u + 1013904223u;
      wide.data<float>()[i] = norm ? 1.0f : (static_cast<float>(state >> 8) * 0x1p-24f - 0.5f) * 0.07f;
    }
    convert(wide.raw(), DType::f32, stored.raw(), dtype, wide.count());
    tensors[spec.name] = {dtype, spec.shape, stored.raw(), std::make_shared<Tensor>(stored)};
  }
  return std::make_unique<Model>(architecture, tensors, dtype);
}

// Token i of sequence s: the same in every batch.
inline int32_t random_token(int64_t sequence, int64_t i, int64_t vocabulary) {
  return static_cast<int32_t>(philox_uniform(3, static_cast<uint64_t>(sequence), static_cast<uint64_t>(i)) *
                              static_cast<double>(vocabulary));
}

// Sequences of slot 1; every token except the first is a target.
inline MicroBatch random_batch(int64_t sequences, int64_t length, int64_t vocabulary) {
  BatchArrays arrays;
  std::vector<int32_t> targets;
  for (int64_t s = 0; s < sequences; ++s) {
    arrays.starts.push_back(static_cast<int32_t>(s * length));
    for (int64_t i = 0; i < length; ++i) {
      arrays.tokens.push_back(random_token(s, i, vocabulary));
      targets.push_back(i + 1 < length ? random_token(s, i + 1, vocabulary) : -1);
    }
  }
  arrays.starts.push_back(static_cast<int32_t>(sequences * length));
  arrays.slots.assign(static_cast<size_t>(sequences), 1);
  return {Batch(std::move(arrays), {vocabulary, length, 1}), std::move(targets)};
}

// A RED edit after every layer's down projection.
inline std::shared_ptr<Adapter> feed_forward_edits(const Architecture& architecture) {
  std::vector<int64_t> layers;
  for (int64_t l = 0; l < architecture.stack.layers; ++l) layers.push_back(l);
  return testing::red_adapter(architecture, testing::RedVariant::all, {Site::down_proj}, layers);
}

}  // namespace rubricate
