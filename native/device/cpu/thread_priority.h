// Native threads run a little below the process's own priority, so that a timer of the event loop that falls due finds
// a core at once.
#pragma once

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

namespace rubricate {

inline void lower_thread_priority() {
  // On Linux a niceness belongs to a thread; the main thread's is the process's.
  const int niceness = std::min(getpriority(PRIO_PROCESS, static_cast<id_t>(getpid())) + 5, 19);
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), niceness);
}

}  // namespace rubricate
