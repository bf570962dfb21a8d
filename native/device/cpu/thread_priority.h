// Native threads give way to the process's own, so that a timer of the event loop that falls due finds a core at once.
#pragma once

#include <cstdint>

namespace rubricate {

// For the calling thread, which a native thread calls once, at its beginning: lowers its priority by five steps of
// niceness below the process's, and asks the scheduler for time in long slices. Linux since 6.12 (EEVDF) lets a thread
// that wakes take the core at once from one of longer slices, and only then: otherwise it may wait until the next tick,
// up to 10 ms. Long slices cost nothing: a thread's share of the time depends on its niceness alone. Older kernels
// ignore the slice, and those that know no sched_setattr get the niceness. Real-time and idle policies stay as they
// are.
void lower_thread_priority();

// The slice that is asked for, in nanoseconds.
constexpr uint64_t kThreadSlice = 10'000'000;

}  // namespace rubricate
