// A running block: its threads, what each waits for, and its shared memory. Not for kernels, which use execution.h.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "device/cuda/emulated/execution.h"
#include "device/cuda/emulated/fiber.h"
#include "device/cuda/emulated/sanitizers.h"

namespace rubricate::emulation {

enum class State : uint8_t { ready, at_barrier, at_collective, ended };

struct AsyncCopy {
  void* to;
  const void* from;
  size_t bytes;
};

struct Thread {
  uint3 index{};
  unsigned lane = 0, warp = 0;
  State state = State::ready;
  Location where;           // of the barrier or collective that it waits at
  uint32_t mask = 0;        // of the collective
  void* payload = nullptr;  // for the collective
  Fiber* fiber = nullptr;
  Token arrived, resumed;  // ThreadSanitizer's synchronization: from this thread to others, and from others to it
  std::vector<AsyncCopy> open_copies;         // since the last commit
  std::deque<std::vector<AsyncCopy>> groups;  // committed, oldest first
};

struct SharedObject {
  const void* key;
  void* memory;
  size_t bytes;
};

struct Block {
  const char* kernel = "";
  uint3 index{};
  std::vector<Thread> threads;  // the threads of this launch are first, in order of their indices
  unsigned count = 0;           // of threads
  unsigned waiting = 0, ended = 0;
  void* dynamic_shared = nullptr;
  std::vector<SharedObject> static_shared;
  size_t static_bytes = 0;
  void (*body)(void*) = nullptr;
  void* argument = nullptr;
  Thread* current = nullptr;        // the thread that runs now
  std::atomic<bool> voted = false;  // a thread gave a value that is not zero to the __syncthreads_or that runs now
};

// Only one launch runs at a time in the process (launch_grid's lock), so there is one block.
extern Block block;

// Leaves the current thread's fiber until the scheduler finds it ready.
void wait_until_ready();

}  // namespace rubricate::emulation
