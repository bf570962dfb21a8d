// Notifies AddressSanitizer and ThreadSanitizer of fibers. Empty in other builds.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

// RUBRICATE_EMULATION_RACES: ThreadSanitizer instruments the kernels, but not the emulation's own files, so that its
// bookkeeping does not count as a kernel's access.
#if defined(RUBRICATE_EMULATION_RACES)
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

namespace rubricate::emulation {

// A synchronization point between threads: release in one, acquire in the other.
class Token {
 public:
#if defined(RUBRICATE_EMULATION_RACES)
  void release() { __tsan_release(&place_); }
  void acquire() { __tsan_acquire(&place_); }

 private:
  char place_ = 0;
#else
  void release() {}
  void acquire() {}
#endif
};

// During its lifetime accesses do not count as the kernel's.
class NotTheKernels {
 public:
#if defined(RUBRICATE_EMULATION_RACES)
  NotTheKernels() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~NotTheKernels() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
#else
  NotTheKernels() {}
#endif
  NotTheKernels(const NotTheKernels&) = delete;
  NotTheKernels& operator=(const NotTheKernels&) = delete;
};

}  // namespace rubricate::emulation
