#include "files/lost_pages.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <mutex>

#include "base/limits.h"
#include "base/mutex.h"

namespace rubricate {
namespace {

// The signal handler reads only static atomics: no lock, no allocation, nothing that is destroyed before the process
// ends.
struct Watched {
  std::atomic<uintptr_t> begin{0}, end{0};  // begin is 0 if the slot is free
  std::atomic<bool> damaged{false};
};

Watched watched[limits::kMappedFiles];
std::atomic<int> used_slots{0};  // slots from this one on were never used
struct sigaction previous;

Mutex& registry_mutex() {
  static Mutex* mutex = new Mutex;  // never destroyed: files may be closed while the process ends
  return *mutex;
}

// Replaces the rest of the mapping at once: a truncated file has lost all of it, and page by page a large file would
// take minutes and exceed the system's limit of mappings.
bool replace_lost(uintptr_t address) {
  const auto page_size = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const int used = used_slots.load(std::memory_order_acquire);
  for (int i = 0; i < used; ++i) {
    const uintptr_t begin = watched[i].begin.load(std::memory_order_acquire);
    const uintptr_t end = watched[i].end.load(std::memory_order_relaxed);
    if (begin == 0 || address < begin || address >= end) continue;
    watched[i].damaged.store(true, std::memory_order_release);
    const uintptr_t page = address / page_size * page_size;
    void* const place = reinterpret_cast<void*>(page);
    return mmap(place, end - page, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == place;
  }
  return false;
}

void pass_on(int signal, siginfo_t* info, void* context) {
  if ((previous.sa_flags & SA_SIGINFO) != 0 && previous.sa_sigaction != nullptr) {
    previous.sa_sigaction(signal, info, context);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler(signal);
  } else {  // the read is retried and ends the process as without this handler
    ::signal(signal, SIG_DFL);
  }
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int saved = errno;
  // si_code > 0: raised by the kernel for an access, not sent by a process.
  const bool mended = info->si_code > 0 && replace_lost(reinterpret_cast<uintptr_t>(info->si_addr));
  errno = saved;
  if (!mended) pass_on(signal, info, context);
}

void install_once() {
  static bool installed = false;
  if (installed) return;
  installed = true;
  struct sigaction action = {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, &previous);
}

}  // namespace

int watch_mapping(void* begin, size_t bytes) {
  const std::lock_guard lock(registry_mutex());
  install_once();
  const int used = used_slots.load(std::memory_order_relaxed);
  int slot = 0;
  while (slot < used && watched[slot].begin.load(std::memory_order_relaxed) != 0) ++slot;
  if (slot == limits::kMappedFiles) return -1;
  const auto address = reinterpret_cast<uintptr_t>(begin);
  watched[slot].damaged.store(false, std::memory_order_relaxed);
  watched[slot].end.store(address + bytes, std::memory_order_relaxed);
  watched[slot].begin.store(address, std::memory_order_release);
  if (slot == used) used_slots.store(used + 1, std::memory_order_release);
  return slot;
}

bool mapping_damaged(int slot) { return watched[slot].damaged.load(std::memory_order_acquire); }

void unwatch_mapping(int slot) {
  const std::lock_guard lock(registry_mutex());
  watched[slot].begin.store(0, std::memory_order_release);
}

}  // namespace rubricate
