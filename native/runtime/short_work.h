// Whether shorter jobs are under way beside an extended one.
#pragma once

#include <chrono>

#include "device/stream.h"
#include "runtime/job_queue.h"

namespace rubricate {

// Of one extended job, on its queue's thread. A client that decodes asks for its next token soon after it got the last: between
// the two nobody waits, but the next large matmul should be cut all the same.
class ShortWork {
 public:
  // stream: that of the job; null on the CPU.
  ShortWork(JobQueue& queue, Stream* stream) : queue_(queue), stream_(stream) {}

  // On a device, kernels of a shorter job would begin only when all those enqueued before them are done.
  void yield() {
    if (stream_ != nullptr) stream_->limit_backlog(wanted());
    if (!queue_.wanted()) return queue_.yield();
    queue_.yield();
    last_ = Clock::now();
    seen_ = true;
  }
  // Whether a job waits, or ran at a yield within the last second.
  bool wanted() {
    if (queue_.wanted()) return true;
    seen_ = seen_ && Clock::now() - last_ < std::chrono::seconds(1);
    return seen_;
  }

 private:
  using Clock = std::chrono::steady_clock;
  JobQueue& queue_;
  Stream* const stream_;
  Clock::time_point last_;
  bool seen_ = false;
};

}  // namespace rubricate
