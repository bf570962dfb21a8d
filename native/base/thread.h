// Starts every thread of the core. The system or a container limits the number of threads, so a start can fail at any
// time.
#pragma once

#include <system_error>
#include <thread>
#include <utility>

#include "base/error.h"

namespace rubricate {

// Throws ERR_OUT_OF_MEMORY if the thread cannot be started.
template <typename Body>
std::thread start_thread(Body&& body) {
  try {
    return std::thread(std::forward<Body>(body));
  } catch (const std::system_error& error) {
    fail("ERR_OUT_OF_MEMORY", "Could not start a thread: ", error.code().message(),
         "; the system, the user or the container limits the number of threads, or memory for their stacks");
  }
}

}  // namespace rubricate
