#include "device/cpu/thread_pool.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/fair_lock.h"
#include "base/integers.h"
#include "base/limits.h"
#include "base/mutex.h"
#include "base/thread.h"
#include "device/cpu/thread_priority.h"

namespace rubricate {
namespace {

using limits::kThreads;

constexpr int kSpins =
    2000;  // about 10 us of spinning before a thread sleeps, since a step's ops follow each other closely

// A model waits for another at most for one region, or for as many as begin within this time: a region of a small model
// takes about 10 us, as long as a thread switch.
constexpr std::chrono::microseconds kTurn(100);

thread_local bool inside_region = false;
thread_local bool had_turn = false;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

int cgroup_quota() {  // whole CPUs that a container may use; 0 if there is no limit
  std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen("/sys/fs/cgroup/cpu.max", "r"), &std::fclose);
  long long quota = 0, period = 0;
  if (!file || std::fscanf(file.get(), "%lld %lld", &quota, &period) != 2 || period <= 0) return 0;
  return static_cast<int>(ceil_div(quota, period));
}

}  // namespace

struct ThreadPool::State {
  FairLock region{kTurn};  // held by the thread whose region runs; a model waits at most for one turn of each other one
  Mutex mutex;             // guards the members below, except the atomics
  Condition wake, done;
  std::vector<std::thread> threads;
  int size = 1;
  bool stopping = false;
  pid_t process = 0;

  // The current region. `generation` is odd while a region is open for joining.
  std::atomic<uint64_t> generation{0};
  std::atomic<int64_t> next{0};
  std::atomic<int> active{0};  // threads inside the region, without the caller
  int64_t chunks = 0;
  void (*call)(const void*, int64_t) = nullptr;
  const void* context = nullptr;
  std::exception_ptr error;
  std::atomic<int64_t> split_regions{0};

  void work() {
    inside_region = true;
    for (int64_t chunk; (chunk = next.fetch_add(1, std::memory_order_relaxed)) < chunks;) {
      try {
        call(context, chunk);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!error) error = std::current_exception();
      }
    }
    inside_region = false;
  }

  void thread_main() {
    lower_thread_priority();
    uint64_t seen = 0;
    for (;;) {
      uint64_t now = generation.load(std::memory_order_acquire);
      for (int spin = 0; spin < kSpins && (now == seen || now % 2 == 0); ++spin) {
        pause();
        now = generation.load(std::memory_order_acquire);
      }
      {
        std::unique_lock lock(mutex);
        while (!stopping && ((now = generation.load(std::memory_order_relaxed)) == seen || now % 2 == 0))
          wake.wait(lock);
        if (stopping) return;
        active.fetch_add(1, std::memory_order_relaxed);  // under the mutex, as the caller closes the region under it
      }
      seen = now;
      work();
      {
        const std::lock_guard lock(mutex);
        if (active.fetch_sub(1, std::memory_order_release) == 1) done.notify_one();
      }
    }
  }

  void start() {
    if (process != getpid()) {  // a forked process has none of the threads
      for (auto& thread : threads) thread.detach();
      threads.clear();
      process = getpid();
    }
    while (static_cast<int>(threads.size()) < size - 1) threads.push_back(start_thread([this] { thread_main(); }));
  }

  void stop() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
      wake.notify_all();
    }
    for (auto& thread : threads) thread.join();
    threads.clear();
    stopping = false;
  }
};

ThreadPool& ThreadPool::instance() {
  // Never destroyed: a native thread may still be inside a region during exit.
  static ThreadPool* pool = new ThreadPool;
  return *pool;
}

ThreadPool::ThreadPool() : state_(new State) { state_->size = default_size(); }
ThreadPool::~ThreadPool() = default;

int ThreadPool::default_size() {
  if (const char* text = std::getenv("RUBRICATE_NUM_THREADS"); text != nullptr && *text != '\0') {
    char* end = nullptr;
    const long n = std::strtol(text, &end, 10);
    require(*end == '\0' && n >= 1 && n <= kThreads, "ERR_ARGUMENT", "Expected an integer from 1 to ", kThreads,
            " for RUBRICATE_NUM_THREADS but received ", text);
    return static_cast<int>(n);
  }
  cpu_set_t set;
  int n =
      sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  const int quota = cgroup_quota();
  if (quota > 0 && quota < n) n = quota;
  return n < 1 ? 1 : n > kThreads ? kThreads : n;
}

int ThreadPool::size() const {
  const std::lock_guard lock(state_->mutex);
  return state_->size;
}

void ThreadPool::resize(int threads) {
  require(threads >= 1 && threads <= kThreads, "ERR_ARGUMENT", "Expected an integer from 1 to ", kThreads,
          " for threads but received ", threads);
  const std::lock_guard region(state_->region);
  if (state_->process == getpid() && threads < state_->size) state_->stop();
  const std::lock_guard lock(state_->mutex);
  state_->size = threads;
}

void ThreadPool::shutdown() {
  const std::lock_guard region(state_->region);
  if (state_->process == getpid()) state_->stop();
}

void ThreadPool::end_turn() {
  if (std::exchange(had_turn, false)) instance().state_->region.end_turn();
}

int64_t ThreadPool::split_regions() const { return state_->split_regions.load(); }

void ThreadPool::run(int64_t chunks, void (*call)(const void*, int64_t), const void* context) {
  if (chunks <= 0) return;
  State& s = *state_;
  if (inside_region || chunks == 1) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) call(context, chunk);
    return;
  }
  const std::lock_guard region(s.region);
  had_turn = true;
  if (s.size == 1) {
    inside_region = true;
    try {
      for (int64_t chunk = 0; chunk < chunks; ++chunk) call(context, chunk);
    } catch (...) {
      inside_region = false;
      throw;
    }
    inside_region = false;
    return;
  }
  {
    const std::lock_guard lock(s.mutex);
    s.start();
    s.chunks = chunks;
    s.call = call;
    s.context = context;
    s.error = nullptr;
    s.next.store(0, std::memory_order_relaxed);
    s.generation.fetch_add(1, std::memory_order_release);
    s.wake.notify_all();
  }
  s.split_regions.fetch_add(1, std::memory_order_relaxed);
  s.work();
  for (int spin = 0; spin < kSpins && s.active.load(std::memory_order_acquire) != 0; ++spin) pause();
  std::unique_lock lock(s.mutex);
  s.generation.fetch_add(1, std::memory_order_release);  // closed: a thread that wakes up now sleeps again
  while (s.active.load(std::memory_order_acquire) != 0) s.done.wait(lock);
  if (s.error) std::rethrow_exception(std::exchange(s.error, nullptr));
}

}  // namespace rubricate
