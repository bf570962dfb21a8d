#include "binding/jobs.h"

#include <mutex>
#include <optional>
#include <utility>

#include "binding/environment.h"

namespace rubricate::binding {

struct Jobs::Job {
  JobSpec spec;
  napi_deferred deferred = nullptr;
  std::shared_ptr<std::atomic<bool>> cancelled = std::make_shared<std::atomic<bool>>(false);
  Progress progress;
  bool failed = false;
  Failure failure;
  std::optional<Failure> why;  // it was cancelled
  Settle settle;
};

void Progress::report(int64_t done, int64_t total) {
  if (callback_.IsEmpty()) return;
  done_.store(done, std::memory_order_relaxed);
  total_.store(total, std::memory_order_relaxed);
  if (!waiting_.exchange(true)) jobs_->post(nullptr);
}

Jobs::Jobs(Napi::Env env) : env_(env) {
  const auto drain = [](napi_env call_env, napi_value, void* self, void*) {
    if (call_env != nullptr) static_cast<Jobs*>(self)->drain();
  };
  const napi_status status = napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "rubricate"),
                                                             0, 1, nullptr, nullptr, this, drain, &wake_);
  if (status != napi_ok) fail("ERR_INTERNAL", "The thread-safe function could not be made");
  napi_unref_threadsafe_function(env, wake_);
}

Jobs::~Jobs() = default;

Napi::Object Jobs::start(JobSpec spec) {
  if (closed_) fail("ERR_STATE", "The environment is ending");
  auto owned = std::make_unique<Job>();
  Job& job = *owned;
  job.spec = std::move(spec);
  job.progress.jobs_ = this;
  if (!job.spec.on_progress.IsEmpty()) job.progress.callback_ = Napi::Persistent(job.spec.on_progress);
  job.spec.on_progress = {};

  Napi::Object handle = Napi::Object::New(env_);
  napi_value promise = nullptr;
  if (napi_create_promise(env_, &job.deferred, &promise) != napi_ok) throw Napi::Error::New(env_);
  handle.Set("promise", promise);
  handle.Set("cancel", Napi::Function::New(env_, [flag = job.cancelled](const Napi::CallbackInfo& info) {
               flag->store(true);
               return info.Env().Undefined();
             }));
  jobs_.emplace(&job, std::move(owned));
  count(1);
  // The queue gets a bare pointer: the job must be destroyed on this thread, whichever thread finishes it.
  try {
    job.spec.queue->enqueue({job.spec.length, [this, &job](const std::atomic<bool>&) { run(job); }, job.cancelled});
  } catch (...) {  // no thread could be started, so nothing else would settle the promise
    job.failed = true;
    job.failure = current_failure();
    settle(job);
  }
  return handle;
}

Napi::Object Jobs::rejected(Napi::Env env, const Napi::Value& reason) {
  const Napi::Promise::Deferred deferred(env);
  deferred.Reject(reason);
  Napi::Object handle = Napi::Object::New(env);
  handle.Set("promise", deferred.Promise());
  handle.Set("cancel", Napi::Function::New(env, [](const Napi::CallbackInfo& info) { return info.Env().Undefined(); }));
  return handle;
}

Napi::Object Jobs::resolved(Napi::Env env, const Napi::Value& value) {
  const Napi::Promise::Deferred deferred(env);
  deferred.Resolve(value);
  Napi::Object handle = Napi::Object::New(env);
  handle.Set("promise", deferred.Promise());
  handle.Set("cancel", Napi::Function::New(env, [](const Napi::CallbackInfo& info) { return info.Env().Undefined(); }));
  return handle;
}

std::function<void()> Jobs::asker(const std::shared_ptr<Caller>& caller) {
  std::erase_if(callers_, [](const auto& weak) { return weak.expired(); });
  callers_.push_back(caller);
  return [this, asked = caller->asked_] {
    if (!asked->exchange(true)) post(nullptr);
  };
}

void Jobs::count(int64_t more) {
  const int64_t before = std::exchange(alive_, alive_ + more);
  if (closed_) return;
  if (before == 0) napi_ref_threadsafe_function(env_, wake_);
  if (alive_ == 0) napi_unref_threadsafe_function(env_, wake_);
}

void Jobs::run(Job& job) {
  try {
    if (job.cancelled->load()) fail("ERR_ABORTED", "The operation was aborted");
    job.settle = job.spec.work(*job.cancelled, job.progress);
  } catch (...) {
    job.failed = true;
    job.failure = current_failure();
  }
  post(&job);  // the job may be destroyed from here on
}

void Jobs::post(Job* finished) {
  const std::lock_guard lock(mutex_);
  if (finished != nullptr) finished_.push_back(finished);
  if (woken_ || closed_) return;
  woken_ = napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking) == napi_ok;
}

void Jobs::drain() {
  std::vector<Job*> finished;
  {
    const std::lock_guard lock(mutex_);
    woken_ = false;
    finished.swap(finished_);
  }
  std::vector<Job*> progressed;
  for (const auto& [job, owned] : jobs_)
    if (job->progress.waiting_.load()) progressed.push_back(job);
  for (Job* job : progressed) tell_progress(*job);
  const auto callers = callers_;  // a call may add one
  for (const auto& weak : callers)
    if (const auto caller = weak.lock(); caller && caller->asked_->exchange(false)) caller->call();
  for (Job* job : finished) settle(*job);
}

void Jobs::tell_progress(Job& job) {
  const Napi::HandleScope scope(env_);
  Progress& progress = job.progress;
  progress.waiting_.store(false);
  if (progress.thrown_) return;
  try {
    progress.callback_.Call({Napi::Number::New(env_, static_cast<double>(progress.done_.load())),
                             Napi::Number::New(env_, static_cast<double>(progress.total_.load()))});
  } catch (const Napi::Error& error) {
    progress.thrown_ = error;
    job.cancelled->store(true);
  }
}

void Jobs::settle(Job& job) {
  const Napi::HandleScope scope(env_);
  const auto found = jobs_.find(&job);
  const std::unique_ptr<Job> owned = std::move(found->second);
  jobs_.erase(found);
  count(-1);
  job.spec.holds.clear();
  // Ignore the statuses: a promise of an environment that is ending cannot settle, and nothing waits for it.
  try {
    if (job.progress.thrown_) throw *job.progress.thrown_;
    if (job.failed) throw make_error(env_, job.why && job.failure.code == "ERR_ABORTED" ? *job.why : job.failure);
    const Napi::Value value = guarded(env_, [&] { return job.settle(env_); });
    napi_resolve_deferred(env_, job.deferred, value);
  } catch (const Napi::Error& error) {
    napi_reject_deferred(env_, job.deferred, error.Value());
  }
}

void Jobs::cancel(const JobQueue& queue, const Failure& why) {
  for (const auto& [job, owned] : jobs_)
    if (job->spec.queue.get() == &queue && !job->cancelled->exchange(true)) job->why = why;
}

void Jobs::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  for (const auto& [job, owned] : jobs_) job->cancelled->store(true);
  for (const auto& [job, owned] : jobs_) job->spec.queue->close();
  for (const auto& weak : std::exchange(callers_, {}))
    if (const auto caller = weak.lock()) caller->end();
  jobs_.clear();
  napi_release_threadsafe_function(wake_, napi_tsfn_abort);
}

}  // namespace rubricate::binding
