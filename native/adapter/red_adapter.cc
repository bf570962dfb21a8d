#include "adapter/red_adapter.h"

#include <algorithm>

#include "ops/layer_norm/layer_norm.h"

namespace rubricate {
namespace {

void check_layers(const std::vector<int64_t>& layers, int64_t count) {
  require(!layers.empty(), "ERR_ARGUMENT", "Expected at least one layer for layers but received none");
  for (size_t i = 0; i < layers.size(); ++i) {
    require(layers[i] >= 0 && layers[i] < count, "ERR_ARGUMENT", "Expected layers from 0 to ", count - 1,
            " but received ", layers[i]);
    require(i == 0 || layers[i] > layers[i - 1], "ERR_ARGUMENT", "Expected layers in ascending order, each once");
  }
}

}  // namespace

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

RedAdapter::RedAdapter(const Architecture& architecture, RedVariant variant, std::vector<Site> sites,
                       std::vector<int64_t> layers)
    : variant_(variant) {
  require(!sites.empty(), "ERR_ARGUMENT", "Expected at least one site for sites but received none");
  std::sort(sites.begin(), sites.end());
  require(std::adjacent_find(sites.begin(), sites.end()) == sites.end(), "ERR_ARGUMENT",
          "Expected each site once for sites");
  check_layers(layers, architecture.stack.layers);

  const bool has_scale = variant != RedVariant::bias, has_bias = variant != RedVariant::scale;
  const bool has_norm = variant == RedVariant::ln;
  int64_t total = 0;
  for (const Site site : sites) total += site_width(architecture, site) * (has_scale + has_bias + 2 * has_norm);
  total *= static_cast<int64_t>(layers.size());

  const auto arena = std::make_shared<Arena>();
  values_ = Tensor::zeros(arena, {total}, DType::f32);
  gradients_ = Tensor::zeros(arena, {total}, DType::f32);
  for (const int64_t layer : layers)
    for (const Site site : sites) {
      SiteVectors vectors{layer, site, {}, {}};
      const std::string name = site_name(layer, site);
      const int64_t width = site_width(architecture, site);
      if (has_scale) vectors.edit.scale = take(name + ".scale", width, 1.0f);
      if (has_bias) vectors.edit.bias = take(name + ".bias", width, 0.0f);
      if (has_norm) {
        vectors.norm.scale = take(name + ".ln.weight", width, 1.0f);
        vectors.norm.bias = take(name + ".ln.bias", width, 0.0f);
      }
      sites_.push_back(std::move(vectors));
    }
  for (const Parameter& parameter : parameters_)
    std::fill_n(parameter.master.data<float>(), parameter.master.count(), parameter.decay_target);
}

RedAdapter::RedAdapter(const RedAdapter& other, const std::shared_ptr<Arena>& arena, bool gradients)
    : variant_(other.variant_), values_(other.values_.copied_to(arena)) {
  if (gradients) gradients_ = Tensor::zeros(arena, values_.shape(), DType::f32);
  const auto like = [&](const Var& own) {
    if (!own.defined()) return Var();
    const Parameter& parameter = other.parameters_[parameters_.size()];  // in the same order
    return take(parameter.name, own.value().count(), parameter.decay_target);
  };
  for (const SiteVectors& own : other.sites_)
    sites_.push_back({own.layer,
                      own.site,
                      {like(own.edit.scale), like(own.edit.bias)},
                      {like(own.norm.scale), like(own.norm.bias)}});
}

Var RedAdapter::take(const std::string& name, int64_t width, float initial) {
  Var var = Var::parameter(values_.part(taken_, {width}));
  if (gradients_.defined()) {
    var.slot()->grad = gradients_.part(taken_, {width});
    var.slot()->in_place = true;
  }
  parameters_.push_back({name, var.value(), var.slot()->grad, initial, true, {}});
  taken_ += width;
  return var;
}

const RedAdapter::SiteVectors* RedAdapter::find(int64_t layer, Site site) const {
  for (const SiteVectors& vectors : sites_)
    if (vectors.layer == layer && vectors.site == site) return &vectors;
  return nullptr;
}

bool RedAdapter::same_layout(const RedAdapter& other) const {
  if (variant_ != other.variant_ || sites_.size() != other.sites_.size()) return false;
  for (size_t i = 0; i < sites_.size(); ++i)
    if (sites_[i].layer != other.sites_[i].layer || sites_[i].site != other.sites_[i].site) return false;
  return true;
}

namespace {

Var frozen(const Var& var) { return var.defined() ? Var(var.value()) : Var(); }

EditSlots::Vectors frozen(const EditSlots::Vectors& vectors) { return {frozen(vectors.scale), frozen(vectors.bias)}; }

}  // namespace

std::shared_ptr<RedAdapter> RedCopies::of(const std::shared_ptr<RedAdapter>& adapter) {
  std::erase_if(copies_, [](const Copy& copy) { return copy.adapter.expired(); });
  const auto own =
      std::find_if(copies_.begin(), copies_.end(), [&](const Copy& copy) { return copy.adapter.lock() == adapter; });
  if (own != copies_.end() && own->version == adapter->version()) return own->copy;
  Copy& copy = own != copies_.end() ? *own : copies_.emplace_back();
  copy = {adapter, adapter->version(), std::make_shared<RedAdapter>(*adapter, arena_, false)};
  return copy.copy;
}

RedBatch::RedBatch(const Architecture& architecture, const std::vector<std::shared_ptr<RedAdapter>>& adapters,
                   bool training, const std::shared_ptr<Arena>& arena, RedCopies* copies)
    : adapters_(adapters), placed_(adapters) {
  parts_.resize(static_cast<size_t>(architecture.stack.layers * kSites));
  const RedAdapter* first = nullptr;
  for (size_t i = 0; i < adapters.size(); ++i) {
    if (!adapters[i]) continue;
    if (first == nullptr) first = adapters[i].get();
    require(first->same_layout(*adapters[i]), "ERR_ARGUMENT",
            "Expected adapters of one variant, the same sites and layers in one batch");
    if (arena->stream() == nullptr) continue;
    placed_[i] = copies != nullptr && !training ? copies->of(adapters[i])
                                                : std::make_shared<RedAdapter>(*adapters[i], arena, training);
  }
  for (size_t i = 0; i < placed_.size(); ++i) {
    if (!placed_[i]) continue;
    for (const RedAdapter::SiteVectors& vectors : placed_[i]->sites()) {
      require(vectors.layer < architecture.stack.layers, "ERR_ARGUMENT", "The adapter edits layer ", vectors.layer,
              " but the model has ", architecture.stack.layers);
      auto& parts = parts_[static_cast<size_t>(vectors.layer * kSites + static_cast<int>(vectors.site))];
      if (!parts) {
        parts = std::make_unique<SiteParts>();
        parts->affine.slots.resize(adapters.size() + 1);
        parts->trains = training;
        if (vectors.norm.scale.defined()) {
          auto norm = std::make_shared<EditSlots>();
          norm->slots.resize(adapters.size() + 1);
          for (size_t j = 0; j < placed_.size(); ++j) {
            if (!placed_[j]) continue;
            const auto* own = placed_[j]->find(vectors.layer, vectors.site);
            if (own != nullptr) norm->slots[j + 1] = training ? own->norm : frozen(own->norm);
          }
          parts->output = [norm](Tape& tape, const Var& y, const SequenceRows& rows) {
            return layer_norm(tape, y, *norm, rows, kRedLayerNormEps);
          };
        }
      }
      parts->affine.slots[i + 1] = training ? vectors.edit : frozen(vectors.edit);
    }
  }
}

void RedBatch::fetch_gradients() const {
  for (size_t i = 0; i < adapters_.size(); ++i)
    if (placed_[i] != adapters_[i]) copy_elements(adapters_[i]->gradients(), placed_[i]->gradients());
}

void RedBatch::fetch_values() const {
  for (size_t i = 0; i < adapters_.size(); ++i)
    if (placed_[i] != adapters_[i]) copy_elements(adapters_[i]->values(), placed_[i]->values());
}

const SiteParts* RedBatch::at(int64_t layer, Site site) const {
  return parts_[static_cast<size_t>(layer * kSites + static_cast<int>(site))].get();
}

}  // namespace rubricate
