// Jobs: work on a native thread with a promise that settles on the JavaScript thread.
//
// A job and all that it holds is made and destroyed on the JavaScript thread. One thread-safe function serves the whole
// environment; it keeps the process alive only while a job is under way. When the environment ends, its jobs are
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

// Tells JavaScript how far a job is, as often as its thread is free. From any thread.
class Progress {
 public:
  void report(int64_t done, int64_t total);

 private:
  friend class Jobs;
  Jobs* jobs_ = nullptr;
  Napi::FunctionReference callback_;
  std::optional<Napi::Error> thrown_;  // what the callback threw; the job is cancelled and rejects with it
  std::atomic<int64_t> done_{0}, total_{0};
  std::atomic<bool> waiting_{false};  // a call is on its way
};

// Makes the promise's value, on the JavaScript thread.
using Settle = std::function<Napi::Value(Napi::Env)>;

struct JobSpec {
  std::shared_ptr<JobQueue> queue;
  JobQueue::Length length = JobQueue::Length::brief;
  // Runs on the queue's thread. What it throws, the promise rejects with.
  std::function<Settle(const std::atomic<bool>& cancelled, Progress& progress)> work;
  std::vector<std::shared_ptr<void>> holds;  // let go just before the promise settles
  Napi::Function on_progress;                // (done, total); may be empty
};

class Jobs {
 public:
  explicit Jobs(Napi::Env env);
  ~Jobs();
  Jobs(const Jobs&) = delete;
  Jobs& operator=(const Jobs&) = delete;

  // Returns lib/job.ts's NativeJob: { promise, cancel }.
  Napi::Object start(JobSpec spec);
  // A NativeJob that rejects.
  static Napi::Object rejected(Napi::Env env, const Napi::Value& reason);
  // Cancels the jobs of a queue; they settle in their own time.
  void cancel(const JobQueue& queue);
  // At the end of the environment: cancels and joins everything.
  void close();

 private:
  friend class Progress;
  struct Job;
  void run(Job& job);            // on the queue's thread
  void post(Job* finished);      // from any thread; null: there is progress to tell
  void drain();                  // on the JavaScript thread
  void tell_progress(Job& job);  // likewise
  void settle(Job& job);         // likewise; the job is gone afterwards

  Napi::Env env_;
  napi_threadsafe_function wake_ = nullptr;
  std::unordered_map<Job*, std::unique_ptr<Job>> jobs_;  // touched by the JavaScript thread alone
  Mutex mutex_;                                          // guards what follows
  std::vector<Job*> finished_;
  bool woken_ = false, closed_ = false;
};

// Runs `body`, which returns a NativeJob; what it throws becomes a NativeJob that rejects.
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
