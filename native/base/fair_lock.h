// A lock that is granted in the order of requests. An ordinary mutex goes to whichever thread is awake, mostly the one
// that has just released it.
//
// A turn is one hold, or all holds that begin within `turn`: if holds are short, a thread switch for each would take
// longer than the holds. The thread that ends its turn wakes only the thread that is next; waking all n waiters would
// cost n thread switches each turn.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <thread>

#include "base/mutex.h"

namespace rubricate {

class FairLock {
 public:
  using Clock = Condition::Clock;

  explicit FairLock(Clock::duration turn = {}) : turn_(turn) {}

  void lock() {
    std::unique_lock guard(mutex_);
    const auto self = std::this_thread::get_id();
    const bool keeps = owner_ == self && Clock::now() < end_;
    if (!held_ && (keeps || first_ == nullptr)) {
      if (!keeps) begin(self);
      held_ = true;
      return;
    }
    wait_for_turn(guard, self);
  }

  void unlock() {
    const std::lock_guard guard(mutex_);
    held_ = false;
    if (first_ == nullptr) return;
    if (Clock::now() >= end_)
      hand_over();
    else if (!first_->knows_end)
      first_->changed.notify_one();  // the owner may not lock again, so the first waiter must wake when the turn ends
  }

  // Ends the calling thread's turn early if it does not hold the lock, so that the next thread need not wait.
  void end_turn() {
    const std::lock_guard guard(mutex_);
    if (held_ || owner_ != std::this_thread::get_id()) return;
    end_ = {};
    if (first_ != nullptr) hand_over();
  }

  // Number of waiting threads.
  int64_t waiting() {
    const std::lock_guard guard(mutex_);
    return waiting_;
  }
  // Number of times that a waiting thread has been woken.
  int64_t wakeups() {
    const std::lock_guard guard(mutex_);
    return wakeups_;
  }

 private:
  struct Waiter {  // on the waiting thread's stack
    std::thread::id thread;
    Condition changed;
    bool has_turn = false;
    bool knows_end = false;  // it is first, and wakes by itself at the end of the current turn
    Waiter* next = nullptr;
  };

  void begin(std::thread::id thread) {
    owner_ = thread;
    end_ = Clock::now() + turn_;
  }

  void wait_for_turn(std::unique_lock<Mutex>& guard, std::thread::id thread) {
    Waiter self;
    self.thread = thread;
    (last_ == nullptr ? first_ : last_->next) = &self;
    last_ = &self;
    ++waiting_;
    while (!self.has_turn) {
      if (first_ == &self && Clock::now() < end_) {
        self.knows_end = true;
        self.changed.wait_until(guard, end_);
      } else if (first_ == &self && !held_) {
        hand_over();
        break;
      } else {
        self.changed.wait(guard);
      }
      ++wakeups_;
    }
  }

  // Gives the free lock to the first waiter.
  void hand_over() {
    Waiter& next = *first_;
    first_ = next.next;
    if (first_ == nullptr) last_ = nullptr;
    --waiting_;
    begin(next.thread);
    held_ = true;
    next.has_turn = true;
    next.changed.notify_one();  // under the mutex: it ends with the waiter's stack
  }

  const Clock::duration turn_;
  Mutex mutex_;
  Waiter *first_ = nullptr, *last_ = nullptr;
  std::thread::id owner_;  // of the last turn
  Clock::time_point end_;  // of that turn: until then its owner may take the lock before the waiters
  bool held_ = false;      // also between the hand-over and the wake-up of the next holder
  int64_t waiting_ = 0, wakeups_ = 0;
};

}  // namespace rubricate
