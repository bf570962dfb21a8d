// All weights of a model as parameters, for full fine-tuning.
#include "model/model.h"
#include "ops/adamw/adamw.h"
#include "tensor/conversion.h"

namespace rubricate {

struct Model::FullParameters : ParameterSet {
  explicit FullParameters(Model& model) {
    arena = model.arena_;
    add(model.embedding_, "embed_tokens.weight");
    if (model.positions_.defined()) add(model.positions_, "embed_positions.weight");
    for (size_t l = 0; l < model.blocks_.size(); ++l) {
      Block& block = model.blocks_[l];
      const std::string prefix = "layers." + std::to_string(l) + ".";
      add(block.input_norm, prefix + "input_layernorm", model.compute_);
      add(block.post_norm, prefix + "post_attention_layernorm", model.compute_);
      AttentionBlock& attention = block.attention;
      if (attention.q_norm.defined()) add(attention.q_norm, prefix + "self_attn.q_norm.weight", model.compute_);
      if (attention.k_norm.defined()) add(attention.k_norm, prefix + "self_attn.k_norm.weight", model.compute_);
      for (const auto& [site, short_name] : kSiteNames) {
        if (is_norm(site)) continue;
        const std::string name = site_name(static_cast<int64_t>(l), site);
        LinearLayer& layer = block.linear(site);
        if (!layer.weight.defined()) continue;
        add(layer.weight, name + ".weight");
        if (layer.bias.defined()) add(layer.bias, name + ".bias", model.compute_);
      }
    }
    add(model.norm_, "norm", model.compute_);
    if (!model.architecture_.tied_embeddings) add(model.head_, "lm_head.weight");
  }

  std::vector<Parameter>& parameters() override { return list; }

  void add(Weight& weight, const std::string& name) {
    const Shape shape = {weight.view.rows, weight.view.cols};
    Tensor master = Tensor::empty(arena, shape, DType::f32);
    convert_elements(master, weight.storage);
    std::function<void()> publish;
    if (weight.view.dtype == DType::f32) {
      weight = Weight::of(master);
    } else {
      const Tensor stored = Tensor::empty(arena, shape, weight.view.dtype);
      publish = [master, stored] { round_to_weight(master, stored); };
      publish();
      weight = Weight::of(stored);
    }
    weight.gradient = slot(shape);
    list.push_back({name, master, weight.gradient->grad, 0.0f, true, std::move(publish)});
  }

  void add(Norm& norm, const std::string& name, DType dtype) {
    add(norm.weight, name + ".weight", dtype);
    if (norm.bias.defined()) add(norm.bias, name + ".bias", dtype);
  }

  // Norm weights and biases are fp32 in memory, and rounded to bf16 in a bf16 model. Like transformers' Trainer
  // (get_decay_parameter_names), weight decay skips both.
  void add(Var& vector, const std::string& name, DType dtype) {
    const Tensor value = vector.value();
    Tensor master = value;
    std::function<void()> publish;
    if (dtype == DType::bf16) {
      master = value.copied_to(arena);
      publish = [master, value, rounded = Tensor::empty(arena, value.shape(), DType::bf16)] {
        round_to_weight(master, rounded);
        convert_elements(value, rounded);
      };
    }
    vector = Var(value, slot(value.shape()));
    list.push_back({name, master, vector.slot()->grad, 0.0f, false, std::move(publish)});
  }

  std::shared_ptr<GradSlot> slot(const Shape& shape) {
    auto slot = std::make_shared<GradSlot>();
    slot->shape = shape;
    slot->grad = Tensor::zeros(arena, shape, DType::f32);
    slot->in_place = true;
    return slot;
  }

  std::shared_ptr<Arena> arena;
  std::vector<Parameter> list;
};

std::shared_ptr<ParameterSet> Model::make_trainable() {
  if (!full_) full_ = std::make_shared<FullParameters>(*this);
  table_file_.reset();  // the embedding is in memory now
  return full_;
}

}  // namespace rubricate
