// cp.async. This file is instrumented like the kernels, since the copies are the kernels' accesses; the lists of copies
// are not.
#include <cstring>
#include <utility>

#include "device/cuda/emulated/block.h"

namespace rubricate::emulation {

void copy_async(void* to, const void* from, size_t bytes) {
  const NotTheKernels scope;
  block.current->open_copies.push_back({to, from, bytes});
}

void copy_async_commit() {
  const NotTheKernels scope;
  Thread& thread = *block.current;
  thread.groups.push_back(std::move(thread.open_copies));
  thread.open_copies.clear();
}

void copy_async_wait(int pending) {
  Thread& thread = *block.current;
  for (;;) {
    std::vector<AsyncCopy> group;
    {
      const NotTheKernels scope;
      if (thread.groups.size() <= static_cast<size_t>(pending)) return;
      group = std::move(thread.groups.front());
      thread.groups.pop_front();
    }
    for (const AsyncCopy& copy : group) {
      if (copy.from != nullptr)
        std::memcpy(copy.to, copy.from, copy.bytes);
      else
        std::memset(copy.to, 0, copy.bytes);
    }
  }
}

}  // namespace rubricate::emulation
