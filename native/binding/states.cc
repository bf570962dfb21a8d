#include "binding/states.h"

namespace rubricate::binding {

void ModelState::free() {
  for (const auto& weak : decoders)
    if (const auto decoder = weak.lock()) decoder->decoder.reset();
  decoders.clear();
  model.reset();
  checkpoint = {};
  extended_arena->trim();
  brief_arena->trim();
}

Use::Use(std::shared_ptr<AdapterState> adapter, std::shared_ptr<ModelState> model, bool trains)
    : adapter_(std::move(adapter)), model_(std::move(model)), trains_(trains) {
  Used& used = adapter_->used;
  const bool elsewhere = used.models.size() > used.models.count(model_.get());
  require(!elsewhere || (!trains && used.training == 0), "ERR_BUSY",
          "Expected an adapter that no other model trains or, while this one trains it, uses");
  ++used.models[model_.get()];
  used.training += trains_;
}

Use::~Use() {
  Used& used = adapter_->used;
  used.training -= trains_;
  if (--used.models[model_.get()] == 0) used.models.erase(model_.get());
}

}  // namespace rubricate::binding
