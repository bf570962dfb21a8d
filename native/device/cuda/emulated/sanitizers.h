// What AddressSanitizer and ThreadSanitizer have to be told about fibers. Nothing in other builds.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

// RUBRICATE_EMULATION_RACES: kernels are instrumented by ThreadSanitizer. The emulation's own files are not, so that
// its bookkeeping is no access of a kernel.
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

// A place through which one thread's past becomes known to another: release here, acquire there.
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

// While one lives, accesses are not the kernel's.
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
