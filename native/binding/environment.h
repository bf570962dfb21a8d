// The state of one JavaScript environment (the main thread, or a worker): constructors, the error class, the running
// jobs, the memory of its tensors. Nothing in the binding is static.
#pragma once

#include <napi.h>

#include <memory>

#include "binding/jobs.h"
#include "device/arena.h"

namespace rubricate::binding {

class Environment {
 public:
  // Makes the state and attaches it to `env` for the environment's lifetime.
  static Environment& create(Napi::Env env);
  static Environment& of(Napi::Env env);

  explicit Environment(Napi::Env env) : env_(env), jobs_(env) {}

  Napi::Env env() const { return env_; }
  Jobs& jobs() { return jobs_; }
  const std::shared_ptr<Arena>& arena() const { return arena_; }  // of the environment's tensors
  // false once the environment has begun to end: calls into it are no longer allowed.
  bool alive() const { return alive_; }

  Napi::FunctionReference error_class, invalid;  // RubricateError and invalid() of lib/errors.ts
  Napi::FunctionReference model, adapter, parameters, optimizer, engine, version, tensor,
      tape;  // constructors
  // The native object that the next handle wraps, when C++ constructs a handle (handle.h). Constructors of Node-API
  // accept only JavaScript values, so a native object cannot be passed as an argument.
  std::shared_ptr<void> making;
  // The thread that reads files which belong to no model.
  const std::shared_ptr<JobQueue>& files_queue();

 private:
  static void on_exit(void* self);

  Napi::Env env_;
  bool alive_ = true;
  std::shared_ptr<Arena> arena_ = std::make_shared<Arena>();
  Jobs jobs_;
  std::shared_ptr<JobQueue> files_queue_;
};

// Memory outside V8's heap that a JavaScript object keeps alive, reported to the garbage collector.
class ExternalBytes {
 public:
  ExternalBytes() = default;
  ExternalBytes(std::shared_ptr<Environment> environment, int64_t bytes);
  ~ExternalBytes() { reset(); }
  ExternalBytes(const ExternalBytes&) = delete;
  ExternalBytes& operator=(const ExternalBytes&) = delete;
  ExternalBytes& operator=(ExternalBytes&& other) noexcept;
  void reset() noexcept;

 private:
  std::shared_ptr<Environment> environment_;
  int64_t bytes_ = 0;
};

// A reference to the environment that outlives it, for objects that are finalized later.
std::shared_ptr<Environment> shared_environment(Napi::Env env);

}  // namespace rubricate::binding
