#include "adapter/red_adapter.h"

#include <algorithm>

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

RedAdapter::RedAdapter(const Architecture& architecture, RedVariant variant, std::vector<Site> sites,
                       std::vector<int64_t> layers)
    : variant_(variant) {
  require(!sites.empty(), "ERR_ARGUMENT", "Expected at least one site for sites but received none");
  std::sort(sites.begin(), sites.end());
  require(std::adjacent_find(sites.begin(), sites.end()) == sites.end(), "ERR_ARGUMENT",
          "Expected each site once for sites");
  check_layers(layers, architecture.stack.layers);
  for (const Site site : sites)
    require(has_site(architecture, site), "ERR_ARGUMENT", "Expected sites that the model has for sites but received ",
            name_of(kSiteNames, site), ": its feed-forward has no gate");

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

}  // namespace rubricate
