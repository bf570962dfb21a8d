#include "device/cpu/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/limits.h"
#include "doctest/doctest.h"

using rubricate::ThreadPool;

namespace {

struct PoolSize {
  explicit PoolSize(int threads) : before(ThreadPool::instance().size()) { ThreadPool::instance().resize(threads); }
  ~PoolSize() { ThreadPool::instance().resize(before); }
  int before;
};

}  // namespace

TEST_CASE("every chunk runs once, on pools of any size") {
  for (const int threads : {1, 2, 3, 7}) {
    const PoolSize size(threads);
    for (const int64_t chunks : {1, 2, 5, 64, 1000}) {
      std::vector<std::atomic<int>> count(static_cast<size_t>(chunks));
      ThreadPool::instance().parallel_for(chunks, [&](int64_t chunk) { count[static_cast<size_t>(chunk)]++; });
      for (const auto& n : count) CHECK(n.load() == 1);
    }
  }
}

TEST_CASE("many short regions in a row neither lose a chunk nor hang") {
  const PoolSize size(4);
  for (int round = 0; round < 3000; ++round) {
    std::atomic<int> sum{0};
    ThreadPool::instance().parallel_for(5, [&](int64_t chunk) { sum += static_cast<int>(chunk) + 1; });
    REQUIRE(sum.load() == 15);
  }
}

TEST_CASE("an exception reaches the caller and the pool stays usable") {
  const PoolSize size(3);
  for (int round = 0; round < 20; ++round)
    CHECK_THROWS_AS(ThreadPool::instance().parallel_for(16,
                                                        [](int64_t chunk) {
                                                          if (chunk % 5 == 3) throw std::runtime_error("chunk");
                                                        }),
                    std::runtime_error);
  std::atomic<int> sum{0};
  ThreadPool::instance().parallel_for(16, [&](int64_t) { ++sum; });
  CHECK(sum.load() == 16);
}

TEST_CASE("a region within a region runs inline") {
  const PoolSize size(2);
  std::atomic<int> sum{0};
  ThreadPool::instance().parallel_for(
      4, [&](int64_t) { ThreadPool::instance().parallel_for(4, [&](int64_t) { ++sum; }); });
  CHECK(sum.load() == 16);
}

TEST_CASE("callers from several threads take turns") {
  const PoolSize size(2);
  std::atomic<int> sum{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i)
    callers.emplace_back([&] {
      for (int round = 0; round < 200; ++round) ThreadPool::instance().parallel_for(3, [&](int64_t) { ++sum; });
    });
  for (auto& caller : callers) caller.join();
  CHECK(sum.load() == 4 * 200 * 3);
}

TEST_CASE("a caller waits for about one region of another caller, however many that one runs") {
  const PoolSize size(2);
  std::atomic<bool> stop{false};
  std::atomic<int> regions{0};
  std::thread busy([&] {
    while (!stop) {
      ThreadPool::instance().parallel_for(2,
                                          [](int64_t) { std::this_thread::sleep_for(std::chrono::microseconds(200)); });
      ++regions;
    }
  });
  std::vector<int> waited;
  for (int round = 0; round < 41; ++round) {
    const int before = regions.load();
    ThreadPool::instance().parallel_for(2, [&](int64_t chunk) {
      if (chunk == 0) waited.push_back(regions.load() - before);
    });
  }
  stop = true;
  busy.join();
  std::nth_element(waited.begin(), waited.begin() + 20, waited.end());
  CHECK(waited[20] <= 2);  // the median: the system may preempt the thread between the count and the call
}

TEST_CASE("shutdown joins the threads and the next region starts them again") {
  const PoolSize size(2);
  for (int round = 0; round < 5; ++round) {
    std::atomic<int> sum{0};
    ThreadPool::instance().parallel_for(8, [&](int64_t) { ++sum; });
    CHECK(sum.load() == 8);
    ThreadPool::instance().shutdown();
  }
}

TEST_CASE("a pool has at least one thread and at most the limit") {
  ThreadPool& pool = ThreadPool::instance();
  const PoolSize size(rubricate::limits::kThreads);
  CHECK(pool.size() == rubricate::limits::kThreads);
  for (const int threads : {0, rubricate::limits::kThreads + 1}) {
    CHECK_THROWS_AS(pool.resize(threads), rubricate::Error);
    CHECK(pool.size() == rubricate::limits::kThreads);
  }
}
