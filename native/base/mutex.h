// A condition variable on pthreads: std::condition_variable would need the libstdc++ of GCC 12, and a Node addon must
// load wherever Node itself does.
#pragma once

#include <pthread.h>
#include <time.h>

#include <chrono>
#include <mutex>

namespace rubricate {

class Mutex {
 public:
  Mutex() = default;
  ~Mutex() { pthread_mutex_destroy(&handle_); }
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  void lock() { pthread_mutex_lock(&handle_); }
  bool try_lock() { return pthread_mutex_trylock(&handle_) == 0; }
  void unlock() { pthread_mutex_unlock(&handle_); }

 private:
  friend class Condition;
  pthread_mutex_t handle_ = PTHREAD_MUTEX_INITIALIZER;
};

class Condition {
 public:
  using Clock = std::chrono::steady_clock;

  Condition() {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);  // the clock of Clock
    pthread_cond_init(&handle_, &attributes);
    pthread_condattr_destroy(&attributes);
  }
  ~Condition() { pthread_cond_destroy(&handle_); }
  Condition(const Condition&) = delete;
  Condition& operator=(const Condition&) = delete;
  void wait(std::unique_lock<Mutex>& lock) { pthread_cond_wait(&handle_, &lock.mutex()->handle_); }
  void wait_until(std::unique_lock<Mutex>& lock, Clock::time_point end) {
    const auto since = end.time_since_epoch();
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since);
    const std::chrono::nanoseconds rest = since - seconds;
    const timespec time = {static_cast<time_t>(seconds.count()), static_cast<long>(rest.count())};
    pthread_cond_timedwait(&handle_, &lock.mutex()->handle_, &time);
  }
  void notify_one() { pthread_cond_signal(&handle_); }
  void notify_all() { pthread_cond_broadcast(&handle_); }

 private:
  pthread_cond_t handle_;
};

}  // namespace rubricate
