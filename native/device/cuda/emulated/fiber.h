// A stack and the point where it was suspended. A scheduler enters fibers one at a time; a fiber leaves, and resumes
// when it is entered again.
#pragma once

#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace rubricate::emulation {

class Fiber {
 public:
  // `body` is called at the first enter() and never returns: it leaves instead.
  explicit Fiber(void (*body)());
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  void enter();  // called by the scheduler: runs the fiber until it leaves
  void leave();  // called by the fiber itself
  // The body calls this before anything else.
  static void begin();
  // Called by the thread that will enter fibers.
  static void become_scheduler();

 private:
  char* stack_ = nullptr;
  void* fake_stack_ = nullptr;  // AddressSanitizer's
  void* shadow_ = nullptr;      // ThreadSanitizer's fiber
#if defined(__x86_64__)
  void* place_ = nullptr;  // the stack pointer
#else
  ucontext_t place_;
#endif
};

}  // namespace rubricate::emulation
