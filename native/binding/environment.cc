#include "binding/environment.h"

#include <atomic>

#include "device/cpu/thread_pool.h"

namespace rubricate::binding {
namespace {

std::atomic<int> live_environments{0};

}  // namespace

Environment& Environment::create(Napi::Env env) {
  auto environment = std::make_shared<Environment>(env);
  env.SetInstanceData(new std::shared_ptr<Environment>(environment));
  live_environments.fetch_add(1);
  // Hooks run in reverse order of registration. This one is registered after the thread-safe function's hook, so it
  // runs before it.
  napi_add_env_cleanup_hook(env, &Environment::on_exit, environment.get());
  return *environment;
}

std::shared_ptr<Environment> shared_environment(Napi::Env env) {
  return *env.GetInstanceData<std::shared_ptr<Environment>>();
}

Environment& Environment::of(Napi::Env env) { return **env.GetInstanceData<std::shared_ptr<Environment>>(); }

const std::shared_ptr<JobQueue>& Environment::files_queue() {
  if (!files_queue_) files_queue_ = std::make_shared<JobQueue>();
  return files_queue_;
}

void Environment::on_exit(void* self) {
  auto& environment = *static_cast<Environment*>(self);
  environment.alive_ = false;
  environment.jobs_.close();
  environment.files_queue_.reset();
  for (Napi::FunctionReference* reference :
       {&environment.error_class, &environment.invalid, &environment.model, &environment.adapter,
        &environment.parameters, &environment.optimizer, &environment.engine, &environment.version, &environment.tensor,
        &environment.tape})
    reference->Reset();
  environment.arena_->trim();
  if (live_environments.fetch_sub(1) > 1) return;
  try {
    ThreadPool::instance().shutdown();
  } catch (const Error&) {  // RUBRICATE_NUM_THREADS is not a number, so there is no pool
  }
}

ExternalBytes::ExternalBytes(std::shared_ptr<Environment> environment, int64_t bytes)
    : environment_(std::move(environment)), bytes_(bytes) {
  Napi::MemoryManagement::AdjustExternalMemory(environment_->env(), bytes_);
}

ExternalBytes& ExternalBytes::operator=(ExternalBytes&& other) noexcept {
  reset();
  environment_ = std::move(other.environment_);
  bytes_ = std::exchange(other.bytes_, 0);
  return *this;
}

void ExternalBytes::reset() noexcept {
  int64_t total = 0;
  if (bytes_ != 0 && environment_->alive()) napi_adjust_external_memory(environment_->env(), -bytes_, &total);
  bytes_ = 0;
  environment_.reset();
}

}  // namespace rubricate::binding
