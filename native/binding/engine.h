// NativeEngine of lib/binding/engine.ts: an engine that is the resident of a model's queue.
//
// While requests are under way the engine counts as a job of the model: the process stays alive, and dispose() of the
// model frees nothing before the last of them has ended. The model holds the engine; a handle alone keeps neither.
#pragma once

#include <unordered_map>

#include "binding/handle.h"
#include "binding/states.h"
#include "serve/engine.h"

namespace rubricate::binding {

class EngineState : public Caller, public std::enable_shared_from_this<EngineState> {
 public:
  EngineState(std::shared_ptr<Environment> of, const std::shared_ptr<ModelState>& model, Napi::Function on_outputs)
      : environment(std::move(of)), model_(model), on_outputs_(Napi::Persistent(on_outputs)) {}
  std::shared_ptr<Environment> environment;

  // Makes the core's engine and attaches it. Throws ERR_STATE if the model has one.
  void attach(EngineOptions options, double training_share);
  int32_t submit(EngineRequest request);
  void abort(int32_t request);
  void taken(int32_t request, int32_t tokens);
  // The core's engine. Throws ERR_DISPOSED after the engine was closed or its model was disposed of.
  Engine& core() const;
  // Of its keys and values, at the end of its last turn; 0 after give_up().
  int64_t pool_bytes() const { return core_ ? core_->stats().pool_bytes : 0; }
  std::shared_ptr<ModelState> model() const { return model_.lock(); }
  void wake() const;
  // Ends all requests with this error.
  void close(const char* code, const char* message);
  // Once the last end was told: forgets the core's engine and the callback.
  std::shared_ptr<Engine> give_up();

  void call() override;
  void end() override;

 private:
  std::weak_ptr<ModelState> model_;
  std::shared_ptr<Engine> core_;  // null after it was given up
  bool closed_ = false;
  Napi::FunctionReference on_outputs_;
  // The process stays alive while there is something to tell that somebody may wait for: not for requests that pause
  // until their readers take what they were told, as these may be gone.
  void hold_while_active();

  // Requests whose end was not told: how many tokens the reader has not taken.
  std::unordered_map<int32_t, int64_t> untaken_;
  int64_t paused_ = 0;  // of these
  int64_t ahead_ = 0;   // tokens after which a request pauses
  bool held_ = false;
  std::shared_ptr<JobCount> count_;  // while requests are under way
};

class EngineHandle : public Handle<EngineHandle, EngineState> {
 public:
  static constexpr const char* kName = "an engine";
  static constexpr napi_type_tag kTag = {0xd1609b4e83f74c2a, 0xa85e37c21b90f46d};
  static constexpr Napi::FunctionReference Environment::*kConstructor = &Environment::engine;
  static Napi::Function define(Napi::Env env);
  explicit EngineHandle(const Napi::CallbackInfo& info);

  Napi::Value submit(const Napi::CallbackInfo& info);
  Napi::Value abort(const Napi::CallbackInfo& info);
  Napi::Value taken(const Napi::CallbackInfo& info);
  Napi::Value stats(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);
};

// createEngine(options, onOutputs)
Napi::Value make_engine(const Napi::CallbackInfo& info, const std::shared_ptr<ModelState>& model);

}  // namespace rubricate::binding
