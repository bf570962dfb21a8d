#include "device/cuda/emulated/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "device/cuda/emulated/sanitizers.h"

namespace rubricate::emulation {
namespace {

constexpr size_t kStackBytes = 256 << 10;  // only touched pages take memory
constexpr size_t kGuardBytes = 4096;       // below it: an overflow ends the process

// The thread that enters fibers. Only one does at a time (block.cc), so one variable is enough for the process.
struct Scheduler {
#if defined(__x86_64__)
  void* place = nullptr;
#else
  ucontext_t place;
#endif
  void* fake_stack = nullptr;
  const void* stack = nullptr;
  size_t stack_bytes = 0;
  void* shadow = nullptr;
} scheduler;

}  // namespace

#if defined(__x86_64__)

// Pushes the callee-saved registers, stores the stack pointer in *from, and resumes where the stack `to` was left.
extern "C" void rubricate_switch_stack(void** from, void* to);
asm(R"(
.text
.type rubricate_switch_stack, @function
rubricate_switch_stack:
  .cfi_startproc
  endbr64
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .cfi_endproc
.size rubricate_switch_stack, .-rubricate_switch_stack
)");

#define RUBRICATE_SWITCH(from, to) rubricate_switch_stack(&(from), (to))
#else
#define RUBRICATE_SWITCH(from, to) swapcontext(&(from), &(to))
#endif

Fiber::Fiber(void (*body)()) {
  void* const memory = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, kGuardBytes, PROT_NONE) != 0) {
    std::fprintf(stderr, "CUDA emulation: no memory for the stack of a thread\n");
    std::abort();
  }
  stack_ = static_cast<char*>(memory);
#if defined(__x86_64__)
  // What rubricate_switch_stack pops: six registers and the return address. The stack pointer must be 8 past a multiple
  // of 16 at a function's first instruction.
  void** const top = reinterpret_cast<void**>(stack_ + kStackBytes) - 2;
  *top = reinterpret_cast<void*>(body);
  place_ = top - 6;
#else
  getcontext(&place_);
  place_.uc_stack.ss_sp = stack_;
  place_.uc_stack.ss_size = kStackBytes;
  place_.uc_link = nullptr;
  makecontext(&place_, body, 0);
#endif
#if defined(RUBRICATE_EMULATION_RACES)
  shadow_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() { munmap(stack_, kStackBytes); }

void Fiber::become_scheduler() {
#if defined(RUBRICATE_EMULATION_RACES)
  scheduler.shadow = __tsan_get_current_fiber();
#endif
}

void Fiber::enter() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&scheduler.fake_stack, stack_, kStackBytes);
#endif
#if defined(RUBRICATE_EMULATION_RACES)
  __tsan_switch_to_fiber(shadow_, 1);  // 1: a switch orders nothing
#endif
  RUBRICATE_SWITCH(scheduler.place, place_);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(scheduler.fake_stack, nullptr, nullptr);
#endif
}

void Fiber::begin() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &scheduler.stack, &scheduler.stack_bytes);
#endif
}

void Fiber::leave() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&fake_stack_, scheduler.stack, scheduler.stack_bytes);
#endif
#if defined(RUBRICATE_EMULATION_RACES)
  __tsan_switch_to_fiber(scheduler.shadow, 1);
#endif
  RUBRICATE_SWITCH(place_, scheduler.place);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack_, &scheduler.stack, &scheduler.stack_bytes);
#endif
}

}  // namespace rubricate::emulation
