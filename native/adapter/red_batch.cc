#include "adapter/red_batch.h"

#include <algorithm>

#include "ops/layer_norm/layer_norm.h"

namespace rubricate {
namespace {

Var frozen(const Var& var) { return var.defined() ? Var(var.value()) : Var(); }

SlotVectors::Vectors frozen(const SlotVectors::Vectors& vectors) {
  return {frozen(vectors.scale), frozen(vectors.bias)};
}

}  // namespace

RedBatch::RedBatch(const Architecture& architecture, const std::vector<std::shared_ptr<RedAdapter>>& adapters,
                   bool training, const std::shared_ptr<Arena>& arena)
    : adapters_(adapters), placed_(adapters) {
  parts_.resize(static_cast<size_t>(architecture.stack.layers * kSites));
  const RedAdapter* first = nullptr;
  for (size_t i = 0; i < adapters.size(); ++i) {
    if (!adapters[i]) continue;
    if (first == nullptr) first = adapters[i].get();
    require(first->same_layout(*adapters[i]), "ERR_ARGUMENT",
            "Expected all adapters of a batch to have the same variant, sites and layers");
    if (arena->stream() != nullptr) placed_[i] = std::make_shared<RedAdapter>(*adapters[i], arena, training);
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
          auto norm = std::make_shared<SlotVectors>();
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
