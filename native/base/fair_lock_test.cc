#include "base/fair_lock.h"

#include <mutex>
#include <thread>
#include <vector>

#include "doctest/doctest.h"

using rubricate::FairLock;

namespace {

void wait_for_waiters(FairLock& lock, int64_t count) {
  while (lock.waiting() != count) std::this_thread::yield();
}

}  // namespace

TEST_CASE("a fair lock goes to its waiters in the order they asked, and wakes each of them once") {
  constexpr int kWaiters = 16;
  FairLock lock;
  std::vector<int> order;
  std::vector<std::thread> threads;
  lock.lock();
  for (int i = 0; i < kWaiters; ++i) {
    threads.emplace_back([&, i] {
      const std::lock_guard guard(lock);
      order.push_back(i);
    });
    wait_for_waiters(lock, i + 1);
  }
  lock.unlock();
  for (auto& thread : threads) thread.join();
  std::vector<int> expected;
  for (int i = 0; i < kWaiters; ++i) expected.push_back(i);
  CHECK(order == expected);
  CHECK(lock.wakeups() >= kWaiters);
  CHECK(lock.wakeups() < 2 * kWaiters);  // the system may wake a thread for nothing now and then
}

TEST_CASE("who lets a fair lock go and asks again comes after those who wait") {
  FairLock lock;
  bool had_turn = false;
  lock.lock();
  std::thread other([&] {
    const std::lock_guard guard(lock);
    had_turn = true;
  });
  wait_for_waiters(lock, 1);
  lock.unlock();
  lock.lock();
  CHECK(had_turn);
  lock.unlock();
  other.join();
}

TEST_CASE("a fair lock excludes") {
  FairLock lock;
  int64_t count = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] {
      for (int round = 0; round < 500; ++round) {
        const std::lock_guard guard(lock);
        ++count;
      }
    });
  for (auto& thread : threads) thread.join();
  CHECK(count == 8 * 500);
}
