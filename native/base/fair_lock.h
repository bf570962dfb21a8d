// A lock whose holders take turns in the order they asked. An ordinary mutex goes to whoever is awake, which is most
// often the one that just let go.
//
// A turn is one hold, or as many as begin within `turn`: where holds are short, a switch of threads for each would take
// longer than they do. It is handed over: who ends a turn wakes the one thread whose turn is next. Waking all of n
// waiters would make each turn cost n switches of threads.
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
      first_->changed.notify_one();  // the owner may not come back: somebody has to look after the turn's end
  }

  // Where the calling thread has the turn and holds nothing: the next need not wait until the turn is over.
  void end_turn() {
    const std::lock_guard guard(mutex_);
    if (held_ || owner_ != std::this_thread::get_id()) return;
    end_ = {};
    if (first_ != nullptr) hand_over();
  }

  // Threads that wait for it.
  int64_t waiting() {
    const std::lock_guard guard(mutex_);
    return waiting_;
  }
  // How often a waiting thread was woken so far.
  int64_t wakeups() {
    const std::lock_guard guard(mutex_);
    return wakeups_;
  }

 private:
  struct Waiter {  // on the stack of the thread that waits
    std::thread::id thread;
    Condition changed;
    bool has_turn = false;
    bool knows_end = false;  // it is the first, and wakes by itself when the turn under way is over
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

  // Gives the lock, which is free, to the first that waits.
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
  Clock::time_point end_;  // of that turn: until then only its owner may take the lock before those who wait
  bool held_ = false;      // also between a hand-over and the moment the next holder is awake
  int64_t waiting_ = 0, wakeups_ = 0;
};

}  // namespace rubricate
