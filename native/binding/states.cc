#include "binding/states.h"

#include <system_error>
#include <thread>

#include "binding/engine.h"
#include "device/cpu/thread_priority.h"
#include "ops/linear/matmul_plan.h"

namespace rubricate::binding {

void release(std::shared_ptr<void> rest, int64_t bytes) {
  constexpr int64_t kLarge = 64 << 20;
  if (bytes < kLarge) return;
  try {
    std::thread([rest = std::move(rest)]() mutable {
      lower_thread_priority();
      rest.reset();
    }).detach();
  } catch (const std::system_error&) {  // no thread could be started: release on this thread
  }
}

NativeOptimizerState::~NativeOptimizerState() {
  if (made) release(std::move(made), 8 * set->count());
}

ModelState::~ModelState() {
  queue.retire();  // each job holds the state until it is settled, so none is left
  free();
}

void ModelState::place_on(Device& device) {
  stream = std::make_shared<Stream>(device);
  MatmulPlans::of(device).require_setting(*stream);
  extended_arena = std::make_shared<Arena>(stream);
  brief_arena = std::make_shared<Arena>(stream);
}

void ModelState::free() {
  queue.detach();
  struct Rest {
    std::shared_ptr<Engine> engine;
    std::shared_ptr<Model> model;
    Checkpoint checkpoint;
    std::shared_ptr<Arena> extended_arena, brief_arena;
  };
  auto rest = std::make_shared<Rest>(
      Rest{engine ? engine->give_up() : nullptr, std::move(model), std::move(checkpoint), extended_arena, brief_arena});
  engine.reset();
  model.reset();
  checkpoint = {};
  extended_arena = brief_arena = std::make_shared<Arena>();
  stream.reset();
  const int64_t cached = rest->extended_arena->stats().cached + rest->brief_arena->stats().cached;
  const bool loaded = rest->model != nullptr;
  release(std::move(rest), loaded ? checkpoint_bytes + cached : 0);
}

AdapterUse::AdapterUse(std::shared_ptr<AdapterState> adapter, std::shared_ptr<ModelState> model, bool trains)
    : adapter_(std::move(adapter)), model_(std::move(model)), trains_(trains) {
  UseCounts& used = adapter_->used;
  const bool elsewhere = used.models.size() > used.models.count(model_.get());
  require(!elsewhere || (!trains && used.training == 0), "ERR_BUSY",
          "Expected an adapter that no other model trains or, while this one trains it, uses");
  ++used.models[model_.get()];
  used.training += trains_;
}

AdapterUse::~AdapterUse() {
  UseCounts& used = adapter_->used;
  used.training -= trains_;
  if (--used.models[model_.get()] == 0) used.models.erase(model_.get());
}

}  // namespace rubricate::binding
