// A loaded model's own thread. Jobs run one after another in order of arrival; an extended job runs waiting brief ones
// at its yield points, to completion on the same thread, each in its own arena. A resident has its turns there too, and
// between jobs.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "runtime/resident.h"

namespace rubricate {

class JobQueue {
 public:
  enum class Length { brief, extended };  // extended: training, evaluation, loading; brief: logits, versions
  struct Job {
    Length length = Length::brief;
    // Must not throw. If `cancelled` is set when it begins, it should only report that.
    std::function<void(const std::atomic<bool>& cancelled)> run;
    std::shared_ptr<std::atomic<bool>> cancelled = std::make_shared<std::atomic<bool>>(false);
    int64_t queued = 0;  // when, by the queue's clock; set by enqueue()
  };

  using Clock = std::function<int64_t()>;  // nanoseconds; only their differences count

  explicit JobQueue(Clock clock = {});  // default: a monotonic clock
  ~JobQueue();                          // close()
  JobQueue(const JobQueue&) = delete;
  JobQueue& operator=(const JobQueue&) = delete;

  // Starts the thread on first use. After close() the job runs at once on the caller's thread, cancelled. Throws
  // ERR_OUT_OF_MEMORY if the thread cannot be started; the job is not queued then.
  void enqueue(Job job);
  // From within an extended job: runs the waiting brief jobs in order of arrival, but none that arrives meanwhile. So a
  // brief job waits for the next yield and the brief jobs before it, and no number of brief jobs can starve the
  // extended one. Then the resident has as many turns as its share of the time allows (runtime/share.h), with a brief
  // job that waits before each. Does nothing in a brief job or a turn: a later job would overtake the waiting ones.
  void yield();
  // From the thread: whether a brief job or the resident waits for a yield. A relaxed load or two.
  bool wanted() const;

  // The queue has at most one resident; ERR_STATE if there is one. Starts the thread, so it throws like enqueue(). With
  // no extended job its turns and jobs alternate. close() and retire() detach it. What it is owed is reset.
  void attach(std::shared_ptr<Resident> resident);
  // No turn begins after this. One that runs on the queue's thread may still end; it keeps the resident alive.
  void detach();
  // From any thread: the resident may want a turn now.
  void wake();
  // The share of the time that extended jobs get while the resident wants turns: above 0, below 1; 0.2 by default.
  // Throws ERR_ARGUMENT.
  void set_training_share(double share);
  // Cancels running and waiting jobs (each job's `run` is still called, to report it) and joins the thread.
  void close();
  // Like close(), but does not join the thread; call it once every job has reported. The thread runs at low priority,
  // so joining it could wait for every other thread of the machine.
  void retire();
  // Closes every queue of the process and joins the threads. Called when the process exits.
  static void end_all();
  // Number of running and waiting jobs.
  int64_t pending() const;

 private:
  class Registry;
  struct State;
  std::shared_ptr<State> state_;  // shared with the thread
};

}  // namespace rubricate
