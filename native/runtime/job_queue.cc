#include "runtime/job_queue.h"

#include <algorithm>
#include <deque>
#include <mutex>
#include <thread>

#include "base/mutex.h"
#include "device/cpu/thread_priority.h"

namespace rubricate {

struct JobQueue::State {
  Mutex mutex;
  Condition wake;
  std::deque<Job> jobs;
  std::shared_ptr<std::atomic<bool>> running[2];  // cancel flags of the extended and the brief job under way
  std::thread thread;
  bool closed = false;
  int depth = 0;  // jobs inside each other; touched by the thread alone
  std::atomic<int64_t> pending{0}, brief_waiting{0};

  void run(const Job& job) {
    {
      const std::lock_guard lock(mutex);
      running[depth] = job.cancelled;
      if (closed) job.cancelled->store(true);
    }
    ++depth;
    job.run(*job.cancelled);
    --depth;
    const std::lock_guard lock(mutex);
    running[depth] = nullptr;
    pending.fetch_sub(1, std::memory_order_relaxed);
  }

  void thread_main() {
    lower_thread_priority();
    for (;;) {
      Job job;
      {
        std::unique_lock lock(mutex);
        while (jobs.empty() && !closed) wake.wait(lock);
        if (jobs.empty()) return;
        job = std::move(jobs.front());
        jobs.pop_front();
        if (job.length == Length::brief) brief_waiting.fetch_sub(1, std::memory_order_relaxed);
      }
      run(job);
    }
  }

  // Returns whether jobs wait.
  bool end() {
    const std::lock_guard lock(mutex);
    closed = true;
    for (const Job& job : jobs) job.cancelled->store(true);
    for (const auto& flag : running)
      if (flag) flag->store(true);
    wake.notify_all();
    return !jobs.empty();
  }
};

JobQueue::JobQueue() : state_(std::make_shared<State>()) {}
JobQueue::~JobQueue() { close(); }

void JobQueue::enqueue(Job job) {
  State& s = *state_;
  s.pending.fetch_add(1, std::memory_order_relaxed);
  {
    const std::lock_guard lock(s.mutex);
    if (!s.closed) {
      if (job.length == Length::brief) s.brief_waiting.fetch_add(1, std::memory_order_relaxed);
      s.jobs.push_back(std::move(job));
      if (!s.thread.joinable()) s.thread = std::thread([state = state_] { state->thread_main(); });
      s.wake.notify_one();
      return;
    }
  }
  job.cancelled->store(true);
  job.run(*job.cancelled);
  s.pending.fetch_sub(1, std::memory_order_relaxed);
}

void JobQueue::yield() {
  State& s = *state_;
  if (s.depth != 1) return;
  while (s.brief_waiting.load(std::memory_order_relaxed) > 0) {
    Job job;
    {
      const std::lock_guard lock(s.mutex);
      const auto found = std::find_if(s.jobs.begin(), s.jobs.end(),
                                      [](const Job& waiting) { return waiting.length == Length::brief; });
      if (found == s.jobs.end()) return;
      job = std::move(*found);
      s.jobs.erase(found);
      s.brief_waiting.fetch_sub(1, std::memory_order_relaxed);
    }
    s.run(job);
  }
}

void JobQueue::close() {
  state_->end();
  if (state_->thread.joinable()) state_->thread.join();
}

void JobQueue::retire() {
  const bool waiting = state_->end();
  if (!waiting && state_->thread.joinable()) state_->thread.detach();
}

int64_t JobQueue::pending() const { return state_->pending.load(std::memory_order_relaxed); }

}  // namespace rubricate
