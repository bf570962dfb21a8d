#include "runtime/job_queue.h"

#include <algorithm>
#include <mutex>

#include "device/cpu/thread_priority.h"

namespace rubricate {

JobQueue::~JobQueue() { close(); }

void JobQueue::enqueue(Job job) {
  pending_.fetch_add(1, std::memory_order_relaxed);
  {
    const std::lock_guard lock(mutex_);
    if (!closed_) {
      if (job.length == Length::brief) brief_waiting_.fetch_add(1, std::memory_order_relaxed);
      jobs_.push_back(std::move(job));
      if (!thread_.joinable()) thread_ = std::thread([this] { thread_main(); });
      wake_.notify_one();
      return;
    }
  }
  job.cancelled->store(true);
  job.run(*job.cancelled);
  pending_.fetch_sub(1, std::memory_order_relaxed);
}

void JobQueue::run(const Job& job) {
  {
    const std::lock_guard lock(mutex_);
    running_[depth_] = job.cancelled;
    if (closed_) job.cancelled->store(true);
  }
  ++depth_;
  job.run(*job.cancelled);
  --depth_;
  const std::lock_guard lock(mutex_);
  running_[depth_] = nullptr;
  pending_.fetch_sub(1, std::memory_order_relaxed);
}

void JobQueue::thread_main() {
  lower_thread_priority();
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      while (jobs_.empty() && !closed_) wake_.wait(lock);
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
      if (job.length == Length::brief) brief_waiting_.fetch_sub(1, std::memory_order_relaxed);
    }
    run(job);
  }
}

void JobQueue::yield() {
  if (depth_ != 1) return;
  while (brief_waiting_.load(std::memory_order_relaxed) > 0) {
    Job job;
    {
      const std::lock_guard lock(mutex_);
      const auto found =
          std::find_if(jobs_.begin(), jobs_.end(), [](const Job& waiting) { return waiting.length == Length::brief; });
      if (found == jobs_.end()) return;
      job = std::move(*found);
      jobs_.erase(found);
      brief_waiting_.fetch_sub(1, std::memory_order_relaxed);
    }
    run(job);
  }
}

void JobQueue::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    for (const Job& job : jobs_) job.cancelled->store(true);
    for (const auto& flag : running_)
      if (flag) flag->store(true);
    wake_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

}  // namespace rubricate
