// Native threads have a lower priority than the process's own threads, so that the event loop gets a core at once when
// a timer is due.
#pragma once

#include <cstdint>

namespace rubricate {

// Each native thread calls this once, when it starts: sets its niceness to five more than the process's, and asks the
// scheduler for long time slices. Since Linux 6.12 (EEVDF) a thread that wakes up preempts a thread with longer slices
// at once, but no other: else it may wait until the next tick, up to 10 ms. Long slices cost nothing, since a thread's
// share of the time depends only on its niceness. Older kernels ignore the slice, and kernels without sched_setattr get
// only the niceness. Real-time and idle policies are not changed.
void lower_thread_priority();

// The requested time slice, in nanoseconds.
constexpr uint64_t kThreadSlice = 10'000'000;

}  // namespace rubricate
