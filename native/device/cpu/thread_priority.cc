#include "device/cpu/thread_priority.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

namespace rubricate {
namespace {

// struct sched_attr of <linux/sched/types.h> in its first version; glibc declares neither it nor its calls.
struct Attributes {
  uint32_t size = sizeof(Attributes);
  uint32_t policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime = 0;  // the time slice, for ordinary policies
  uint64_t deadline = 0;
  uint64_t period = 0;
};
static_assert(sizeof(Attributes) == 48);

bool set_niceness_and_slice(int niceness) {
#if defined(SYS_sched_setattr) && defined(SYS_sched_getattr)
  Attributes attributes;
  if (syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0) != 0) return false;
  if (attributes.policy != SCHED_OTHER && attributes.policy != SCHED_BATCH) return false;
  attributes.nice = niceness;
  attributes.runtime = kThreadSlice;
  return syscall(SYS_sched_setattr, 0, &attributes, 0) == 0;
#else
  return false;
#endif
}

}  // namespace

void lower_thread_priority() {
  // On Linux each thread has its own niceness; the main thread's is the process's.
  const int niceness = std::min(getpriority(PRIO_PROCESS, static_cast<id_t>(getpid())) + 5, 19);
  if (!set_niceness_and_slice(niceness)) setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), niceness);
}

}  // namespace rubricate
