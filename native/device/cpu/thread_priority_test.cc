#include "device/cpu/thread_priority.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "doctest/doctest.h"

namespace {

struct Seen {
  int niceness = 0, policy = 0;
  uint64_t slice = 0;  // 0 if the kernel does not report it
};

// The calling thread's settings.
Seen see() {
  Seen seen;
  seen.niceness = getpriority(PRIO_PROCESS, static_cast<id_t>(gettid()));
  seen.policy = sched_getscheduler(0);
  uint64_t attributes[6] = {};  // struct sched_attr; its fourth word is the slice
  if (syscall(SYS_sched_getattr, 0, attributes, sizeof(attributes), 0) == 0) seen.slice = attributes[3];
  return seen;
}

}  // namespace

TEST_CASE("a native thread has a lower priority than the process, and long time slices if the kernel has them") {
  Seen before, after;
  std::thread thread([&] {
    before = see();
    rubricate::lower_thread_priority();
    after = see();
  });
  thread.join();
  CHECK(before.niceness == see().niceness);
  CHECK(after.niceness == std::min(before.niceness + 5, 19));
  CHECK(after.policy == before.policy);
  CHECK(after.slice == (before.slice == 0 ? 0 : rubricate::kThreadSlice));
}

TEST_CASE("a thread with another policy keeps it") {
  int policy = -1;
  std::thread thread([&] {
    const sched_param none = {};
    REQUIRE(sched_setscheduler(0, SCHED_IDLE, &none) == 0);
    rubricate::lower_thread_priority();
    policy = sched_getscheduler(0);
  });
  thread.join();
  CHECK(policy == SCHED_IDLE);
}
