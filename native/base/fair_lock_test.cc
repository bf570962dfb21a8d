#include "base/fair_lock.h"

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>
#include <vector>

#include "doctest/doctest.h"

using rubricate::FairLock;

namespace {

void wait_for_waiters(FairLock& lock, int64_t count) {
  while (lock.waiting() != count) std::this_thread::yield();
}

void excludes(std::chrono::microseconds turn) {
  FairLock lock(turn);
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

}  // namespace

TEST_CASE("a fair lock is granted in the order of requests, and each waiter is woken once") {
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
  CHECK(lock.wakeups() < 2 * kWaiters);  // spurious wake-ups are possible
}

TEST_CASE("a thread that releases a fair lock and requests it again comes after the waiters") {
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

TEST_CASE("a turn includes all holds that begin within its time, and can be ended early") {
  FairLock lock(std::chrono::hours(1));
  std::atomic<int> turns{0};
  std::vector<std::thread> others;
  lock.lock();
  for (int i = 0; i < 3; ++i) {
    others.emplace_back([&] {
      lock.lock();
      lock.unlock();
      lock.lock();
      ++turns;
      lock.unlock();
      lock.end_turn();
    });
    wait_for_waiters(lock, i + 1);
  }
  for (int hold = 0; hold < 100; ++hold) {
    lock.unlock();
    lock.lock();
  }
  CHECK(turns == 0);
  CHECK(lock.waiting() == 3);
  CHECK(lock.wakeups() < 3);  // the first waiter may wake to check the clock
  lock.unlock();
  lock.end_turn();
  for (auto& other : others) other.join();
  CHECK(turns == 3);
}

TEST_CASE("a turn ends by itself if its owner does not lock again") {
  FairLock lock(std::chrono::milliseconds(5));
  std::vector<std::thread> others;
  lock.lock();
  for (int i = 0; i < 3; ++i) {
    others.emplace_back([&] { const std::lock_guard guard(lock); });
    wait_for_waiters(lock, i + 1);
  }
  lock.unlock();
  for (auto& other : others) other.join();
  CHECK(lock.waiting() == 0);
}

TEST_CASE("a fair lock gives mutual exclusion") {
  for (const auto turn : {std::chrono::microseconds(0), std::chrono::microseconds(20)}) excludes(turn);
}
