#include "base/thread.h"

#include <pthread.h>

#include <atomic>
#include <string>

#include "device/cpu/thread_pool.h"
#include "doctest/doctest.h"
#include "runtime/job_queue.h"

using rubricate::Error;
using rubricate::JobQueue;
using rubricate::start_thread;
using rubricate::ThreadPool;

namespace {

// During its lifetime no thread can be started: the default stack size exceeds the address space.
class NoThreads {
 public:
  NoThreads() {
    pthread_attr_t huge;
    pthread_attr_init(&huge);
    pthread_getattr_default_np(&before_);
    pthread_attr_setstacksize(&huge, size_t{1} << 60);
    pthread_setattr_default_np(&huge);
    pthread_attr_destroy(&huge);
  }
  ~NoThreads() {
    pthread_setattr_default_np(&before_);
    pthread_attr_destroy(&before_);
  }
  NoThreads(const NoThreads&) = delete;
  NoThreads& operator=(const NoThreads&) = delete;

 private:
  pthread_attr_t before_;
};

template <typename Body>
std::string code_of(const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find("number of threads") != std::string::npos);
    return error.code();
  }
  return "none";
}

}  // namespace

TEST_CASE("a thread that cannot be started is an error that names the limit") {
  const NoThreads none;
  CHECK(code_of([] { start_thread([] {}).join(); }) == "ERR_OUT_OF_MEMORY");
}

TEST_CASE("a queue whose thread cannot be started does not queue the job, and can queue one later") {
  JobQueue queue;
  std::atomic<int> ran{0};
  const auto enqueue = [&] { queue.enqueue({JobQueue::Length::brief, [&](const auto&) { ++ran; }}); };
  {
    const NoThreads none;
    CHECK(code_of(enqueue) == "ERR_OUT_OF_MEMORY");
    CHECK(queue.pending() == 0);
  }
  enqueue();
  while (queue.pending() > 0) std::this_thread::yield();
  CHECK(ran == 1);
}

TEST_CASE("a pool whose threads cannot be started runs no chunk, and can run all of them later") {
  ThreadPool& pool = ThreadPool::instance();
  const int before = pool.size();
  pool.shutdown();
  pool.resize(3);
  std::atomic<int> ran{0};
  const auto region = [&] { pool.parallel_for(8, [&](int64_t) { ++ran; }); };
  {
    const NoThreads none;
    CHECK(code_of(region) == "ERR_OUT_OF_MEMORY");
    CHECK(ran == 0);
  }
  region();
  CHECK(ran == 8);
  pool.resize(before);
}
