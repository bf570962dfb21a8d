#include "device/slabs.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>

#include "base/error.h"
#include "base/integers.h"

namespace rubricate {
namespace {

constexpr int64_t kAlignment = 64;                // bytes of a cache line
constexpr int64_t kSlabBytes = int64_t{4} << 20;  // a process may have about 65,000 mappings

int64_t page_bytes() {
  static const int64_t bytes = sysconf(_SC_PAGESIZE);
  return bytes;
}

void check_size(int64_t bytes) {
  require(bytes >= 0 && bytes < int64_t{1} << 46, "ERR_OUT_OF_MEMORY", "Expected a size below 64 TiB but received ",
          bytes, " bytes");
}

void* map_memory(int64_t bytes) {
  void* const memory =
      mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  require(memory != MAP_FAILED, "ERR_OUT_OF_MEMORY", "Could not allocate ", bytes, " bytes");
  return memory;
}

// Returns the whole pages of a block that is free; it can be used again, and is 0 then.
void drop_pages(char* block, int64_t size) noexcept {
  const int64_t page = page_bytes(), begin = reinterpret_cast<intptr_t>(block);
  const int64_t first = round_up(begin, page), end = (begin + size) / page * page;
  if (first < end) madvise(block + (first - begin), static_cast<size_t>(end - first), MADV_DONTNEED);
}

}  // namespace

Slabs& Slabs::process() {
  static Slabs& slabs = *new Slabs;  // versions may be freed after static objects are destroyed
  return slabs;
}

int64_t Slabs::Slab::bytes() const { return round_up(size * blocks, page_bytes()); }

#if defined(__SANITIZE_ADDRESS__)
std::shared_ptr<void> Slabs::allocate(int64_t bytes) {
  check_size(bytes);
  void* address = nullptr;
  require(posix_memalign(&address, kAlignment, static_cast<size_t>(std::max<int64_t>(bytes, 1))) == 0,
          "ERR_OUT_OF_MEMORY", "Could not allocate ", bytes, " bytes");
  return {address, std::free};
}
#else
std::shared_ptr<void> Slabs::allocate(int64_t bytes) {
  check_size(bytes);
  const int64_t size = round_up(std::max<int64_t>(bytes, 1), kAlignment);
  Slab* slab = nullptr;
  int64_t block = 0;
  {
    const std::lock_guard lock(mutex_);
    SizeClass& sizes = by_size_[size];
    if (sizes.open.empty()) {
      add_slab(sizes, size);
      stats_.mapped += sizes.open.front().bytes();
    }
    slab = &sizes.open.front();
    if (slab->given_back.empty()) {
      block = slab->fresh++;
    } else {
      block = slab->given_back.back();
      slab->given_back.pop_back();
    }
    if (slab->full()) sizes.full.splice(sizes.full.begin(), sizes.open, slab->self);
    stats_.used += size;
  }
  return {slab->memory + block * size, [this, slab, block](void*) { release(*slab, block); }};
}
#endif

void Slabs::add_slab(SizeClass& sizes, int64_t size) {
  Slab slab;
  slab.sizes = &sizes;
  slab.size = size;
  slab.blocks = std::max<int64_t>(kSlabBytes / size, 1);
  slab.given_back.reserve(static_cast<size_t>(slab.blocks));  // so that no release allocates
  sizes.open.push_front(std::move(slab));
  Slab& made = sizes.open.front();
  made.self = sizes.open.begin();
  try {
    made.memory = static_cast<char*>(map_memory(made.bytes()));
  } catch (...) {
    sizes.open.pop_front();
    throw;
  }
}

void Slabs::release(Slab& slab, int64_t block) noexcept {
  const std::lock_guard lock(mutex_);
  List& open = slab.sizes->open;
  if (slab.full()) open.splice(open.begin(), slab.sizes->full, slab.self);
  slab.given_back.push_back(block);
  stats_.used -= slab.size;
  // munmap fails if it would split a mapping and the process has as many as it may: then the slab is kept for reuse.
  if (slab.unused() && munmap(slab.memory, static_cast<size_t>(slab.bytes())) == 0) {
    stats_.mapped -= slab.bytes();
    open.erase(slab.self);
    return;
  }
  drop_pages(slab.memory + block * slab.size, slab.size);
}

SlabStats Slabs::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace rubricate
