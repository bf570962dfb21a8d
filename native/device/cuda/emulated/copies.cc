// cp.async. This file is instrumented like the kernels: the copies are their accesses.
#include <cstring>

#include "device/cuda/emulated/block.h"

namespace rubricate::emulation {

void copy_async(void* to, const void* from, size_t bytes) { block.current->open_copies.push_back({to, from, bytes}); }

void copy_async_commit() {
  Thread& thread = *block.current;
  thread.groups.push_back(std::move(thread.open_copies));
  thread.open_copies.clear();
}

void copy_async_wait(int pending) {
  Thread& thread = *block.current;
  while (thread.groups.size() > static_cast<size_t>(pending)) {
    for (const AsyncCopy& copy : thread.groups.front()) {
      if (copy.from != nullptr)
        std::memcpy(copy.to, copy.from, copy.bytes);
      else
        std::memset(copy.to, 0, copy.bytes);
    }
    thread.groups.pop_front();
  }
}

}  // namespace rubricate::emulation
