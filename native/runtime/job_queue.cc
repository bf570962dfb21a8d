#include "runtime/job_queue.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/thread.h"
#include "device/cpu/thread_pool.h"
#include "device/cpu/thread_priority.h"
#include "runtime/share.h"

namespace rubricate {

// The queues that have a thread. exit() runs no cleanup hooks of the main thread's environment, so a thread that
// continues to compute would read objects that exit() destroys.
class JobQueue::Registry {
 public:
  static Registry& instance() {
    static Registry* registry = new Registry;  // never destroyed: used while the process exits
    return *registry;
  }

  void add(std::shared_ptr<State> state) {
    const std::lock_guard lock(mutex_);
    if (process_ == 0) std::atexit(&JobQueue::end_all);
    if (process_ != getpid()) states_.clear();  // a forked process has none of the threads
    process_ = getpid();
    states_.push_back(std::move(state));
  }

  void remove(const State* state) {
    const std::lock_guard lock(mutex_);
    std::erase_if(states_, [&](const auto& other) { return other.get() == state; });
    if (states_.empty()) empty_.notify_all();
  }

  void end_all();

 private:
  Mutex mutex_;
  Condition empty_;
  pid_t process_ = 0;
  std::vector<std::shared_ptr<State>> states_;
};

struct JobQueue::State {
  Mutex mutex;
  Condition wake;
  std::deque<Job> jobs;
  std::shared_ptr<std::atomic<bool>> running[2];  // cancel flags of the running jobs: an extended one, a brief one
  std::thread thread;
  bool closed = false;
  bool may_yield = false;  // the innermost job is an extended one; used only by the thread
  std::atomic<int64_t> pending{0}, brief_waiting{0};
  Clock clock;
  std::shared_ptr<Resident> resident;
  std::atomic<bool> attached{false};      // resident != null
  std::atomic<bool> turn_waiting{false};  // it was woken, or wanted a turn when it was last asked
  Share share;                            // under the mutex, like what it is told
  int64_t resumed = 0;                    // when the extended job began, or went on after its last yield
  bool both_want = false;                 // the resident wanted turns then

  void run(const Job& job) {
    std::shared_ptr<std::atomic<bool>>& flag = running[job.length == Length::brief];
    {
      const std::lock_guard lock(mutex);
      flag = job.cancelled;
      if (closed) job.cancelled->store(true);
      if (job.length == Length::extended) go_on();
    }
    const bool outer = std::exchange(may_yield, job.length == Length::extended);
    job.run(*job.cancelled);
    may_yield = outer;
    const std::lock_guard lock(mutex);
    if (job.length == Length::extended) trained_until(clock());
    flag = nullptr;
    pending.fetch_sub(1, std::memory_order_relaxed);
  }

  // Under the mutex, like the next three. The extended job computes from now on.
  void go_on() {
    both_want = turn_wanted();
    resumed = clock();
  }

  // The extended job computed until then, since go_on().
  void trained_until(int64_t now) {
    if (both_want)
      share.trained(now - resumed);
    else
      share.trained_alone(now - resumed);
  }

  // A turn outside an extended job. One that was queued meanwhile waits for its end.
  void served_between(int64_t begin, int64_t end) {
    const auto waits =
        std::find_if(jobs.begin(), jobs.end(), [](const Job& job) { return job.length == Length::extended; });
    const int64_t since = waits == jobs.end() ? end : std::clamp(waits->queued, begin, end);
    share.served_alone(since - begin);
    share.served(end - since);
  }

  bool turn_wanted() {
    const bool wanted = !closed && resident && resident->wants();
    turn_waiting.store(wanted, std::memory_order_relaxed);
    return wanted;
  }

  std::shared_ptr<Resident> wanting() {
    const std::lock_guard lock(mutex);
    return turn_wanted() ? resident : nullptr;
  }

  void run_brief() {
    // Only the jobs that wait now: otherwise clients that enqueue again at once would starve the extended job.
    for (int64_t left = brief_waiting.load(std::memory_order_relaxed); left > 0; --left) {
      const std::optional<Job> job = take_brief();
      if (!job) return;
      run(*job);
    }
  }

  // At a yield: the turns that the share allows. trained: when the extended job reached this yield.
  void run_turns(int64_t trained) {
    {
      const std::lock_guard lock(mutex);
      trained_until(trained);
    }
    constexpr int64_t kLeast = 1000;  // that a turn counts, so that none is free
    for (;;) {
      const auto own = wanting();
      {
        const std::lock_guard lock(mutex);
        if (!own || !share.owes()) break;
      }
      const int64_t begin = clock();
      may_yield = false;
      own->turn();
      may_yield = true;
      const int64_t end = clock();
      {
        const std::lock_guard lock(mutex);
        share.served(std::max(end - begin, kLeast));
      }
      run_brief();
    }
    const std::lock_guard lock(mutex);
    go_on();
  }

  // The brief job that has waited longest, if any.
  std::optional<Job> take_brief() {
    const std::lock_guard lock(mutex);
    const auto found =
        std::find_if(jobs.begin(), jobs.end(), [](const Job& waiting) { return waiting.length == Length::brief; });
    if (found == jobs.end()) return std::nullopt;
    Job job = std::move(*found);
    jobs.erase(found);
    brief_waiting.fetch_sub(1, std::memory_order_relaxed);
    return job;
  }

  void start(const std::shared_ptr<State>& self) {
    Registry::instance().add(self);
    try {
      thread = start_thread([self] { self->thread_main(); });
    } catch (...) {
      Registry::instance().remove(this);
      throw;
    }
  }

  void thread_main() {
    lower_thread_priority();
    run_jobs();
    Registry::instance().remove(this);
  }

  // Under the mutex: until something may have come.
  void wait(std::unique_lock<Mutex>& lock) {
    const int64_t due = resident && !closed ? resident->due_in() : -1;
    if (due < 0) return wake.wait(lock);
    wake.wait_until(lock, Condition::Clock::now() + std::chrono::nanoseconds(due));
  }

  void run_jobs() {
    for (bool turned = false;;) {  // whether a turn was the last to run
      Job job;
      std::shared_ptr<Resident> own;
      {
        std::unique_lock lock(mutex);
        for (; jobs.empty() || !turned; wait(lock)) {
          if (turn_wanted()) own = resident;
          if (own || !jobs.empty()) break;
          if (closed) return;
        }
        if (!own) {
          job = std::move(jobs.front());
          jobs.pop_front();
          if (job.length == Length::brief) brief_waiting.fetch_sub(1, std::memory_order_relaxed);
        }
      }
      turned = own != nullptr;
      if (own)
        turn_between(*own);
      else
        run(job);
      ThreadPool::end_turn();
    }
  }

  void turn_between(Resident& own) {
    const int64_t begin = clock();
    own.turn();
    const int64_t end = clock();
    const std::lock_guard lock(mutex);
    served_between(begin, end);
  }

  // Under the mutex. The caller destroys what it gets without the mutex.
  std::shared_ptr<Resident> take_resident() {
    attached.store(false, std::memory_order_relaxed);
    turn_waiting.store(false, std::memory_order_relaxed);
    return std::exchange(resident, nullptr);
  }

  // Returns whether jobs are waiting.
  bool end() {
    std::shared_ptr<Resident> gone;
    const std::lock_guard lock(mutex);
    gone = take_resident();
    closed = true;
    for (const Job& job : jobs) job.cancelled->store(true);
    for (const auto& flag : running)
      if (flag) flag->store(true);
    wake.notify_all();
    return !jobs.empty();
  }
};

void JobQueue::Registry::end_all() {
  std::unique_lock lock(mutex_);
  if (process_ != getpid()) return;
  const auto states = states_;
  lock.unlock();
  for (const auto& state : states) state->end();
  lock.lock();
  while (!states_.empty()) empty_.wait(lock);
}

void JobQueue::end_all() { Registry::instance().end_all(); }

JobQueue::JobQueue(Clock clock) : state_(std::make_shared<State>()) {
  state_->clock = clock ? std::move(clock) : [] {
    const auto now = Condition::Clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
  };
}
JobQueue::~JobQueue() { close(); }

void JobQueue::enqueue(Job job) {
  State& s = *state_;
  {
    const std::lock_guard lock(s.mutex);
    if (!s.closed) {
      if (!s.thread.joinable()) s.start(state_);  // first: if it throws, nothing is queued
      const bool brief = job.length == Length::brief;
      job.queued = s.clock();
      s.jobs.push_back(std::move(job));
      s.brief_waiting.fetch_add(brief, std::memory_order_relaxed);
      s.pending.fetch_add(1, std::memory_order_relaxed);
      s.wake.notify_one();
      return;
    }
  }
  job.cancelled->store(true);
  job.run(*job.cancelled);
}

void JobQueue::yield() {
  State& s = *state_;
  if (!s.may_yield) return;
  const bool turns = s.attached.load(std::memory_order_relaxed);
  const int64_t now = turns ? s.clock() : 0;
  s.run_brief();
  if (turns) s.run_turns(now);
}

void JobQueue::attach(std::shared_ptr<Resident> resident) {
  State& s = *state_;
  const std::lock_guard lock(s.mutex);
  require(!s.closed && !s.resident, "ERR_STATE", "Expected an open queue without a resident");
  if (!s.thread.joinable()) s.start(state_);
  s.resident = std::move(resident);
  s.share.begin();
  s.attached.store(true, std::memory_order_relaxed);
  s.wake.notify_one();
}

void JobQueue::detach() {
  std::shared_ptr<Resident> gone;
  const std::lock_guard lock(state_->mutex);
  gone = state_->take_resident();
}

void JobQueue::wake() {
  const std::lock_guard lock(state_->mutex);
  if (state_->resident) state_->turn_waiting.store(true, std::memory_order_relaxed);
  state_->wake.notify_one();
}

void JobQueue::set_training_share(double share) {
  const std::lock_guard lock(state_->mutex);
  state_->share.set(share);
}

bool JobQueue::wanted() const {
  const State& s = *state_;
  return s.may_yield &&
         (s.brief_waiting.load(std::memory_order_relaxed) > 0 || s.turn_waiting.load(std::memory_order_relaxed));
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
