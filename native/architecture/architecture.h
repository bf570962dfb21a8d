// A model's architecture as data: lib/model/*.ts makes it from a config.json; it is checked here once and trusted
// afterwards.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rubricate {

struct Architecture {
  struct Norm {
    std::string kind;  // "rms" (a weight) or "layer" (LayerNorm: a weight and a bias)
    float eps = 0.0f;
    bool layer() const { return kind == "layer"; }
  };
  struct Position {
    std::string kind;             // "rope", or "learned": a table of [context, hidden], added to the embeddings
    std::vector<float> inv_freq;  // rope: head_dim / 2 or fewer, scaling already applied
    float factor = 1.0f;          // rope: multiplies cos and sin (transformers' attention_scaling)
    bool learned() const { return kind == "learned"; }
  };
  struct Attention {
    int64_t heads = 0, kv_heads = 0, head_dim = 0;
    float scale = 0.0f;
    std::string mask;  // "causal"
    bool qkv_bias = false, output_bias = false;
    bool head_norm = false;       // RMS norms of each head's q and k before RoPE, with the eps of the stack's norm
    bool scale_by_layer = false;  // the scale of layer l, counted from 0, is scale / (l + 1)
    int64_t window = 0;           // how many keys a query sees at most, the last of them its own; 0: all up to its own
    std::vector<int64_t> window_layers;  // the layers that have the window, ascending; empty: all
    int64_t window_of(int64_t layer) const;
  };
  struct FeedForward {
    std::string kind;  // "swiglu" (gated), "gelu" or "gelu_tanh" (up_proj, activation, down_proj)
    int64_t size = 0;
    bool bias = false;
    bool gated() const { return kind == "swiglu"; }
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

// A tensor that the architecture needs, by canonical name: Hugging Face's LLaMA names without "model.", and
// "embed_positions.weight" for a table of positions.
struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;  // matrices [outputs, inputs]; vectors [n]
};
std::vector<TensorSpec> tensor_specs(const Architecture& architecture);

}  // namespace rubricate
