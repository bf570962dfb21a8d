// What hangs off one JavaScript environment (the main thread, or a worker): constructors, the error class, the jobs
// under way, the memory of its tensors. Nothing in the binding is static.
#pragma once

#include <napi.h>

#include <memory>

#include "binding/jobs.h"
#include "device/arena.h"

namespace rubricate::binding {

class Environment {
 public:
  // Makes the environment's state and keeps it with `env` until that ends.
  static Environment& create(Napi::Env env);
  static Environment& of(Napi::Env env);

  explicit Environment(Napi::Env env) : env_(env), jobs_(env) {}

  Napi::Env env() const { return env_; }
  Jobs& jobs() { return jobs_; }
  const std::shared_ptr<Arena>& arena() const { return arena_; }  // of the environment's tensors
  // false once the environment began to end: no call into it is allowed any more.
  bool alive() const { return alive_; }

  Napi::FunctionReference error_class, invalid;  // RubricateError and invalid() of lib/errors.ts
  Napi::FunctionReference model, adapter, parameters, optimizer, decoder, tensor, tape;  // constructors
  // What the next handle wraps, while one is made from C++ (handle.h): constructors of Node-API take JavaScript values
  // only, so a native object can reach one by this way alone.
  std::shared_ptr<void> making;
  // Thread for files that belong to no model.
  const std::shared_ptr<JobQueue>& files_queue();

 private:
  static void on_exit(void* self);

  Napi::Env env_;
  bool alive_ = true;
  std::shared_ptr<Arena> arena_ = std::make_shared<Arena>();
  Jobs jobs_;
  std::shared_ptr<JobQueue> files_queue_;
};

// Bytes that a JavaScript object keeps alive outside V8's heap, told to its garbage collector.
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

// The environment as a reference that outlives it, for objects that are finalized late.
std::shared_ptr<Environment> shared_environment(Napi::Env env);

}  // namespace rubricate::binding
