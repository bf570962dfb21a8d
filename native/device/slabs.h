// CPU memory for blocks that stay while others come and go, such as the versions of adapters. malloc places them among
// those others, which leave holes that are often too small for the next block: many adapters took 1.5 times their
// bytes. Here blocks of one size lie side by side in slabs, which are mapped apart from malloc's memory.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <vector>

#include "base/mutex.h"

namespace rubricate {

struct SlabStats {
  int64_t used = 0;    // bytes of blocks, each rounded up to 64
  int64_t mapped = 0;  // bytes of slabs; pages that no block has used take no memory
};

// Thread-safe.
class Slabs {
 public:
  static Slabs& process();  // of the process; never destroyed
  Slabs() = default;
  Slabs(const Slabs&) = delete;
  Slabs& operator=(const Slabs&) = delete;

  // A block, aligned to 64 bytes and not initialised. Throws ERR_OUT_OF_MEMORY. When its last owner goes, its pages
  // return to the system, and a slab with its last block. The Slabs must outlive it. Under AddressSanitizer each block
  // is one of malloc's, of the very size, so that accesses out of its bounds are detected.
  std::shared_ptr<void> allocate(int64_t bytes);
  SlabStats stats() const;

 private:
  struct Slab;
  using List = std::list<Slab>;
  struct SizeClass {  // of one size of blocks
    List open, full;
  };
  struct Slab {
    SizeClass* sizes = nullptr;
    List::iterator self;
    char* memory = nullptr;
    int64_t size = 0, blocks = 0;     // bytes of a block; how many
    int64_t fresh = 0;                // the first block that was never in use
    std::vector<int64_t> given_back;  // those before it that are free
    bool full() const { return fresh == blocks && given_back.empty(); }
    bool unused() const { return static_cast<int64_t>(given_back.size()) == fresh; }
    int64_t bytes() const;  // mapped
  };

  static void add_slab(SizeClass& sizes, int64_t size);
  void release(Slab& slab, int64_t block) noexcept;

  mutable Mutex mutex_;
  std::map<int64_t, SizeClass> by_size_;
  SlabStats stats_;
};

}  // namespace rubricate
