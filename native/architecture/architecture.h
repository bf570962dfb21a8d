// A model's architecture as data: lib/model/*.ts makes it from a config.json; it is checked here once and trusted
// afterwards.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rubricate {

struct Architecture {
  struct Norm {
    std::string kind;  // "rms"
    float eps = 0.0f;
  };
  struct Position {
    std::string kind;             // "rope"
    std::vector<float> inv_freq;  // [head_dim / 2], scaling already applied
    float factor = 1.0f;          // multiplies cos and sin (transformers' attention_scaling)
  };
  struct Attention {
    int64_t heads = 0, kv_heads = 0, head_dim = 0;
    float scale = 0.0f;
    std::string mask;  // "causal"
    bool qkv_bias = false, output_bias = false;
    bool head_norm = false;  // RMS norms of each head's q and k before RoPE, with the eps of the stack's norm
  };
  struct FeedForward {
    std::string kind;  // "swiglu"
    int64_t size = 0;
    bool bias = false;
  };
  struct Stack {
    int64_t layers = 0;
    Norm norm;
    Position position;
    Attention attention;
    FeedForward feed_forward;
  };

  int64_t version = 1;
  std::string family;  // a label: the core selects nothing by it
  int64_t vocabulary = 0, hidden = 0, context = 0;
  bool tied_embeddings = false;
  Stack stack;

  // Errors: ERR_JSON for malformed text; ERR_CONFIG for a missing, unknown or impossible value, named by its path.
  static Architecture parse(const std::string& json);
};

// A tensor that the architecture needs, by canonical name (Hugging Face's LLaMA names without "model.").
struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;  // matrices [outputs, inputs]; vectors [n]
};
std::vector<TensorSpec> tensor_specs(const Architecture& architecture);

}  // namespace rubricate
