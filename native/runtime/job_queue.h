// A loaded model's own thread. Jobs run one after another in order of arrival; an extended job runs waiting brief ones
// at its yield points, to completion on the same thread, each in its own arena.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

namespace rubricate {

class JobQueue {
 public:
  enum class Length { brief, extended };  // extended: training, evaluation, loading; brief: decoding, logits
  struct Job {
    Length length = Length::brief;
    // Must not throw. If `cancelled` is set when it begins, it should only report that.
    std::function<void(const std::atomic<bool>& cancelled)> run;
    std::shared_ptr<std::atomic<bool>> cancelled = std::make_shared<std::atomic<bool>>(false);
  };

  JobQueue();
  ~JobQueue();  // close()
  JobQueue(const JobQueue&) = delete;
  JobQueue& operator=(const JobQueue&) = delete;

  // Starts the thread on first use. After close() the job runs at once on the caller's thread, cancelled. Throws
  // ERR_OUT_OF_MEMORY if the thread cannot be started; the job is not queued then.
  void enqueue(Job job);
  // From within an extended job: runs the waiting brief jobs in order of arrival, but none that arrives meanwhile. So a
  // brief job waits for the next yield and the brief jobs before it, and no number of brief jobs can starve the
  // extended one. Does nothing in a brief job: a later job would overtake the waiting ones.
  void yield();
  // From the thread: whether yield() would run a job now. One relaxed load.
  bool wanted() const;
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
