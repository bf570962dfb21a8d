// The process-wide compute threads. The caller computes too, so a pool of size 1 starts no thread.
//
// A counter assigns chunks to threads. Any thread may run a chunk, but its result does not depend on the thread, so
// results never depend on the number of threads. One region runs at a time; a second caller waits for its turn.
#pragma once

#include <cstdint>
#include <functional>
#include <type_traits>

#include "base/integers.h"

namespace rubricate {

class ThreadPool {
 public:
  static ThreadPool& instance();

  // Number of threads of a region, including the caller.
  int size() const;
  // Takes effect with the next region. 1 <= threads <= limits::kThreads.
  void resize(int threads);
  // Default number of threads: RUBRICATE_NUM_THREADS, else the CPUs that the process may use (affinity mask, cgroup
  // quota).
  static int default_size();

  // Calls body(chunk) once for each chunk in [0, chunks), on any thread, and returns when all are done. An exception
  // from a chunk is rethrown here after the others have ended. Throws ERR_OUT_OF_MEMORY if a thread cannot be started;
  // no chunk has run then. A call from within a chunk runs inline. The body is one object that all threads call at
  // once, hence const: a mutable lambda does not compile.
  template <typename Body>
  void parallel_for(int64_t chunks, const Body& body) {
    run(
        chunks, [](const void* context, int64_t chunk) { (*static_cast<const Body*>(context))(chunk); }, &body);
  }

  // Call it when the thread has no further region for now: ends its turn, so that others need not wait. Never throws.
  static void end_turn();

  // Number of regions that ran on more than one thread; tests use it to show that an op was split.
  int64_t split_regions() const;

  // Ends and joins the threads; the next region starts them again.
  void shutdown();

 private:
  ThreadPool();
  ~ThreadPool();
  void run(int64_t chunks, void (*call)(const void*, int64_t), const void* context);
  struct State;
  State* state_;
};

// Elements per chunk: about 20 to 50 us for a memory-bound kernel.
constexpr int64_t kElementGrain = 32768;

// Splits [0, count) into ranges of `grain` (the last may be shorter) and calls body(begin, end) for each.
template <typename Body>
void parallel_ranges(int64_t count, int64_t grain, const Body& body) {
  if (count <= 0) return;
  ThreadPool::instance().parallel_for(ceil_div(count, grain), [&](int64_t chunk) {
    const int64_t begin = chunk * grain;
    body(begin, begin + grain < count ? begin + grain : count);
  });
}

}  // namespace rubricate
