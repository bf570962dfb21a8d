// Jobs: work on a native thread with a promise that settles on the JavaScript thread.
//
// A job and everything it holds is created and destroyed on the JavaScript thread. One thread-safe function serves the
// whole environment; it keeps the process alive only while a job runs. When the environment ends, its jobs are
// cancelled and joined; their promises then never settle.
#pragma once

#include <napi.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "binding/errors.h"
#include "runtime/job_queue.h"

namespace rubricate::binding {

class Jobs;

// Reports a job's progress to JavaScript whenever its thread is free. May be called from any thread.
class Progress {
 public:
  void report(int64_t done, int64_t total);

 private:
  friend class Jobs;
  Jobs* jobs_ = nullptr;
  Napi::FunctionReference callback_;
  std::optional<Napi::Error> thrown_;  // the callback's exception; the job is cancelled and rejects with it
  std::atomic<int64_t> done_{0}, total_{0};
  std::atomic<bool> waiting_{false};  // a call is scheduled
};

// Makes the value of the promise, on the JavaScript thread.
using Settle = std::function<Napi::Value(Napi::Env)>;

struct JobSpec {
  std::shared_ptr<JobQueue> queue;
  JobQueue::Length length = JobQueue::Length::brief;
  // Runs on the queue's thread. The promise rejects with what it throws.
  std::function<Settle(const std::atomic<bool>& cancelled, Progress& progress)> work;
  std::vector<std::shared_ptr<void>> holds;  // released just before the promise settles
  Napi::Function on_progress;                // (done, total); may be empty
};

// Something else that is called on the JavaScript thread when another thread asked for it.
class Caller {
 public:
  virtual ~Caller() = default;
  virtual void call() = 0;
  // The environment ends: threads that may ask must have ended when it returns, and no reference to JavaScript remains.
  virtual void end() = 0;

 private:
  friend class Jobs;
  std::shared_ptr<std::atomic<bool>> asked_ = std::make_shared<std::atomic<bool>>(false);
};

class Jobs {
 public:
  explicit Jobs(Napi::Env env);
  ~Jobs();
  Jobs(const Jobs&) = delete;
  Jobs& operator=(const Jobs&) = delete;

  // Returns a NativeJob of lib/job.ts: { promise, cancel }.
  Napi::Object start(JobSpec spec);
  // Returns a NativeJob that rejects.
  static Napi::Object rejected(Napi::Env env, const Napi::Value& reason);
  // Returns a NativeJob that has resolved.
  static Napi::Object resolved(Napi::Env env, const Napi::Value& value);
  // Makes a function that asks for a call of `caller`, from any thread; calls are coalesced. Call it until the
  // environment has ended, and no longer.
  std::function<void()> asker(const std::shared_ptr<Caller>& caller);
  // While there is a hold, the process stays alive, as while a job runs.
  void hold() { count(1); }
  void let_go() { count(-1); }
  // Cancels the jobs of a queue without waiting for them to settle. Those that were not cancelled before then reject with `why`.
  void cancel(const JobQueue& queue, const Failure& why);
  // When the environment ends: cancels and joins all jobs.
  void close();

 private:
  friend class Progress;
  struct Job;
  void run(Job& job);            // on the queue's thread
  void post(Job* finished);      // from any thread; null: there is progress to report
  void drain();                  // on the JavaScript thread
  void tell_progress(Job& job);  // on the JavaScript thread
  void settle(Job& job);         // on the JavaScript thread; destroys the job
  void count(int64_t more);      // of jobs and holds

  Napi::Env env_;
  napi_threadsafe_function wake_ = nullptr;
  std::unordered_map<Job*, std::unique_ptr<Job>> jobs_;  // used only on the JavaScript thread, as the next two
  std::vector<std::weak_ptr<Caller>> callers_;
  int64_t alive_ = 0;  // jobs and holds
  Mutex mutex_;        // guards the members below
  std::vector<Job*> finished_;
  bool woken_ = false, closed_ = false;
};

// Runs `body`, which returns a NativeJob. If it throws, returns a NativeJob that rejects.
template <typename Body>
Napi::Value job_or_rejection(Napi::Env env, Body&& body) {
  try {
    return body();
  } catch (const Napi::Error& error) {
    return Jobs::rejected(env, error.Value());
  } catch (...) {
    return Jobs::rejected(env, make_error(env, current_failure()).Value());
  }
}

}  // namespace rubricate::binding
