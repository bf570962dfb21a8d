#include "device/cuda/emulated/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>

#include "device/cuda/emulated/sanitizers.h"

namespace rubricate::emulation {

#if defined(__SANITIZE_ADDRESS__) || defined(RUBRICATE_EMULATION_RACES)

void* allocate_device_memory(size_t bytes) {
  void* memory = nullptr;
  if (posix_memalign(&memory, 256, std::max<size_t>(bytes, 1)) != 0) return nullptr;
  const NotTheKernels scope;
  std::memset(memory, 0xff, bytes);
  return memory;
}
void release_device_memory(void* address) { std::free(address); }
DeviceAccess::DeviceAccess() {}
DeviceAccess::~DeviceAccess() {}

#else
namespace {

// One range of addresses, whose pages take memory when they are touched.
constexpr size_t kRegionBytes = size_t{64} << 30;
// The protection of all pages changes at every copy and launch, so huge pages, being fewer, are faster.
constexpr size_t kPage = size_t{2} << 20;

std::mutex lock;
char* region = nullptr;
size_t reached = 0;              // bytes from the start that were ever allocated, whole pages
std::map<char*, size_t> blocks;  // allocated
std::map<char*, size_t> gaps;    // freed, below `end`
size_t end = 0;                  // bytes from the start that are blocks or gaps
int accesses = 0;

void protect(int protection) {
  if (reached > 0 && mprotect(region, reached, protection) != 0) {
    std::perror("CUDA emulation: mprotect");
    std::abort();
  }
}

bool make_region() {
  if (region != nullptr) return true;
  void* const memory =
      mmap(nullptr, kRegionBytes + kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return false;
  region = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(memory) + kPage - 1) / kPage * kPage);
  madvise(region, kRegionBytes, MADV_HUGEPAGE);  // only a hint
  return true;
}

// Under the lock: the first gap that fits, or the end.
char* take(size_t size) {
  for (auto gap = gaps.begin(); gap != gaps.end(); ++gap) {
    const auto [address, room] = *gap;
    if (room < size) continue;
    gaps.erase(gap);
    if (room > size) gaps[address + size] = room - size;
    return address;
  }
  if (size > kRegionBytes - end) return nullptr;
  char* const address = region + end;
  end += size;
  return address;
}

}  // namespace

void* allocate_device_memory(size_t bytes) {
  const size_t size = (std::max<size_t>(bytes, 1) + 255) / 256 * 256;
  char* address = nullptr;
  {
    const std::lock_guard guard(lock);
    if (!make_region()) return nullptr;
    address = take(size);
    if (address == nullptr) return nullptr;
    blocks[address] = size;
    reached = std::max(reached, (end + kPage - 1) / kPage * kPage);
    if (accesses > 0) protect(PROT_READ | PROT_WRITE);
  }
  const DeviceAccess access;
  std::memset(address, 0xff, size);
  return address;
}

void release_device_memory(void* memory) {
  const std::lock_guard guard(lock);
  const auto block = blocks.find(static_cast<char*>(memory));
  auto gap = gaps.emplace(block->first, block->second).first;
  blocks.erase(block);
  const auto after = std::next(gap);
  if (after != gaps.end() && gap->first + gap->second == after->first) {
    gap->second += after->second;
    gaps.erase(after);
  }
  if (gap == gaps.begin()) return;
  const auto before = std::prev(gap);
  if (before->first + before->second != gap->first) return;
  before->second += gap->second;
  gaps.erase(gap);
}

DeviceAccess::DeviceAccess() {
  const std::lock_guard guard(lock);
  if (accesses++ == 0) protect(PROT_READ | PROT_WRITE);
}
DeviceAccess::~DeviceAccess() {
  const std::lock_guard guard(lock);
  if (--accesses == 0) protect(PROT_NONE);
}
#endif

}  // namespace rubricate::emulation
