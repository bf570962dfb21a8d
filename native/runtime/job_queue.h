// A loaded model's own thread. Jobs run one after another in the order they came; a long job lets shorter ones in at
// its yield points, where they run to their end on the same thread, each in its own arena.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <thread>

#include "base/mutex.h"

namespace rubricate {

class JobQueue {
 public:
  enum class Length { brief, extended };  // extended: training, evaluation, loading; brief: decoding, logits
  struct Job {
    Length length = Length::brief;
    // Must not throw. `cancelled` was set before it began: it should only report that.
    std::function<void(const std::atomic<bool>& cancelled)> run;
    std::shared_ptr<std::atomic<bool>> cancelled = std::make_shared<std::atomic<bool>>(false);
  };

  JobQueue() = default;
  ~JobQueue();  // close()
  JobQueue(const JobQueue&) = delete;
  JobQueue& operator=(const JobQueue&) = delete;

  // Starts the thread on first use. After close() the job runs at once on the caller's thread, cancelled.
  void enqueue(Job job);
  // From within an extended job: runs the brief jobs that wait. A brief job's own yields do nothing.
  void yield();
  // Cancels what runs and what waits (each job's `run` is still called, to report it) and joins the thread.
  void close();
  // Jobs that run or wait.
  int64_t pending() const { return pending_.load(std::memory_order_relaxed); }

 private:
  void thread_main();
  void run(const Job& job);

  Mutex mutex_;
  Condition wake_;
  std::deque<Job> jobs_;
  std::shared_ptr<std::atomic<bool>> running_[2];  // cancel flags of the extended and the brief job under way
  std::thread thread_;
  bool closed_ = false;
  int depth_ = 0;  // jobs inside each other; touched by the thread alone
  std::atomic<int64_t> pending_{0}, brief_waiting_{0};
};

}  // namespace rubricate
