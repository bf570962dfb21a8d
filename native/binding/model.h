// NativeModel of lib/binding/model.ts, and loadModel.
#pragma once

#include "binding/handle.h"
#include "binding/states.h"

namespace rubricate::binding {

class ModelHandle : public Handle<ModelHandle, ModelState> {
 public:
  static constexpr const char* kName = "a model";
  static constexpr napi_type_tag kTag = {0x71be04c6d82f4a93, 0xb5e02d9f47c1683a};
  static constexpr Napi::FunctionReference Environment::*kConstructor = &Environment::model;
  static Napi::Function define(Napi::Env env);
  explicit ModelHandle(const Napi::CallbackInfo& info);

  Napi::Value compute(const Napi::CallbackInfo& info);
  Napi::Value pending_jobs(const Napi::CallbackInfo& info);
  Napi::Value logits(const Napi::CallbackInfo& info);
  Napi::Value train_step(const Napi::CallbackInfo& info);
  Napi::Value evaluate(const Napi::CallbackInfo& info);
  Napi::Value squared_gradients(const Napi::CallbackInfo& info);
  Napi::Value make_trainable(const Napi::CallbackInfo& info);
  Napi::Value create_engine(const Napi::CallbackInfo& info);
  Napi::Value publish(const Napi::CallbackInfo& info);
  Napi::Value tensor_specs(const Napi::CallbackInfo& info);
  Napi::Value read_tensor(const Napi::CallbackInfo& info);
  Napi::Value merged_tensor(const Napi::CallbackInfo& info);
  Napi::Value fingerprint_bytes(const Napi::CallbackInfo& info);
  Napi::Value memory(const Napi::CallbackInfo& info);
  Napi::Value matmuls(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);
};

// loadModel(spec): returns a NativeJob<NativeModel>.
Napi::Value load_model(const Napi::CallbackInfo& info);

// Runs `work` on the model's thread, in the arena for jobs of that length; then throws if the model's files changed
// meanwhile. `holds`: kept until the promise settles. Throws ERR_DISPOSED.
using ModelWork = std::function<Settle(const JobControl& control, Progress& progress)>;
Napi::Value start_model_job(const std::shared_ptr<ModelState>& state, JobQueue::Length length, ModelWork work,
                            std::vector<std::shared_ptr<void>> holds = {}, Napi::Function on_progress = {});

}  // namespace rubricate::binding
