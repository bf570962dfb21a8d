// A lock whose holders come in the order they asked. An ordinary mutex goes to whoever is awake, which is most often
// the one that just let go.
//
// It is handed over: who lets go wakes the one thread whose turn it is. Waking all of n waiters would make each turn
// cost n switches of threads, and n turns n * n.
#pragma once

#include <cstdint>
#include <mutex>

#include "base/mutex.h"

namespace rubricate {

class FairLock {
 public:
  void lock() {
    std::unique_lock guard(mutex_);
    if (!held_) {
      held_ = true;
      return;
    }
    Waiter self;
    (last_ == nullptr ? first_ : last_->next) = &self;
    last_ = &self;
    ++waiting_;
    while (!self.has_turn) {
      self.turn.wait(guard);
      ++wakeups_;
    }
  }

  void unlock() {
    const std::lock_guard guard(mutex_);
    if (first_ == nullptr) {
      held_ = false;
      return;
    }
    Waiter& next = *first_;
    first_ = next.next;
    if (first_ == nullptr) last_ = nullptr;
    --waiting_;
    next.has_turn = true;
    next.turn.notify_one();  // under the mutex: it ends with the waiter's stack
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
    Condition turn;
    bool has_turn = false;
    Waiter* next = nullptr;
  };
  Mutex mutex_;
  Waiter *first_ = nullptr, *last_ = nullptr;
  bool held_ = false;  // also between a hand-over and the moment the next holder is awake
  int64_t waiting_ = 0, wakeups_ = 0;
};

}  // namespace rubricate
