// A loaded model's own thread. Jobs run one after another in the order they came; a long job lets shorter ones in at
// its yield points, where they run to their end on the same thread, each in its own arena.
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
    // Must not throw. `cancelled` was set before it began: it should only report that.
    std::function<void(const std::atomic<bool>& cancelled)> run;
    std::shared_ptr<std::atomic<bool>> cancelled = std::make_shared<std::atomic<bool>>(false);
  };

  JobQueue();
  ~JobQueue();  // close()
  JobQueue(const JobQueue&) = delete;
  JobQueue& operator=(const JobQueue&) = delete;

  // Starts the thread on first use. After close() the job runs at once on the caller's thread, cancelled. Throws
  // ERR_OUT_OF_MEMORY where no thread can be started; then the job was not queued.
  void enqueue(Job job);
  // From within an extended job: runs the brief jobs that wait, in the order they came, but none that comes meanwhile.
  // So a brief job waits until the next yield, and there for the brief jobs before it; and the extended job goes on
  // however many brief ones come. In a brief job it does nothing: a job that came later would overtake those that wait.
  void yield();
  // Cancels what runs and what waits (each job's `run` is still called, to report it) and joins the thread.
  void close();
  // As close(), once every job has reported what came of it, but lets the thread end in its own time. It has a low
  // priority: who waits for it may wait for all other threads of the machine.
  void retire();
  // Closes every queue of the process and waits for their threads. The process does so when it exits.
  static void end_all();
  // Jobs that run or wait.
  int64_t pending() const;

 private:
  class Registry;
  struct State;
  std::shared_ptr<State> state_;  // shared with the thread
};

}  // namespace rubricate
