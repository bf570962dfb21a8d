// Work that a queue returns to again and again in short turns, between its jobs and at the yields of extended ones:
// serving requests.
#pragma once

#include <cstdint>

namespace rubricate {

class Resident {
 public:
  virtual ~Resident() = default;
  // One turn, on the queue's thread. Must not throw. Its own yields do nothing.
  virtual void turn() = 0;
  // Whether there is something to do now. From any thread.
  virtual bool wants() const = 0;
  // Nanoseconds until it wants a turn even if nobody wakes the queue; -1: not before that. From any thread.
  virtual int64_t due_in() const { return -1; }
};

}  // namespace rubricate
