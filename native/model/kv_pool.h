// Keys and values of many sequences, in pages of kKeyBlock positions that all layers share: at most `capacity` pages, each
// allocated when it is first needed, with a count of its users. Not thread-safe: the model's thread uses it.
//
// A page is free, used (by one sequence or more), or cached: nobody uses it, but its keys and values are kept for a
// sequence that begins with the same tokens. free() + used() + cached() = capacity().
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "architecture/architecture.h"
#include "base/integers.h"
#include "model/batch.h"
#include "ops/attention/attention.h"
#include "tensor/tensor.h"

namespace rubricate {

struct KvSequence {
  std::vector<int32_t> pages;
  int32_t length = 0;  // positions whose keys and values are stored
};

class KvPool {
 public:
  // Who remembers what full pages hold. It only names pages; the pool counts their users and owns their memory.
  class Memory {
   public:
    virtual ~Memory() = default;
    // A page has its first user: one that was free, or one that was cached.
    virtual void used(int32_t page) = 0;
    // Its last user has gone. Whether it is cached: kept until used() or evict(). Only full pages may be.
    virtual bool keep(int32_t page) = 0;
    // The cached page to give up next, which the memory forgets; -1: none is cached.
    virtual int32_t evict() = 0;
  };

  // arena: of the device that the model computes on. memory: may be null: no page is cached. Errors: ERR_ARGUMENT.
  KvPool(const Architecture& architecture, DType dtype, std::shared_ptr<Arena> arena, int64_t capacity,
         Memory* memory = nullptr);
  KvPool(const KvPool&) = delete;
  KvPool& operator=(const KvPool&) = delete;

  static int64_t page_bytes(const Architecture& architecture, DType dtype);
  static int64_t pages_for(int64_t length) { return ceil_div(length, kKeyBlock); }
  int64_t capacity() const { return static_cast<int64_t>(users_.size()); }
  int64_t free() const { return static_cast<int64_t>(free_.size()); }
  int64_t cached() const { return cached_; }
  int64_t used() const { return capacity() - free() - cached(); }
  int64_t allocated_bytes() const;
  int32_t users(int32_t page) const { return users_[static_cast<size_t>(page)]; }

  // Pages for positions up to `length`. false: there are not so many, and nothing was taken. Cached pages are given up
  // if no page is free. Throws ERR_OUT_OF_MEMORY if a page cannot be allocated; nothing was taken then either.
  bool reserve(KvSequence& sequence, int64_t length);
  // Begins an empty sequence with full pages that hold its first tokens: used or cached ones.
  void share(KvSequence& sequence, const std::vector<int32_t>& pages);
  // Uses `page` in place of a sequence's page number `index`: both hold the same.
  void replace(KvSequence& sequence, int64_t index, int32_t page);
  // Gives everything back, and empties the sequence. The last pages go first.
  void release(KvSequence& sequence);
  // The pages of the sequences of a batch, for one forward: reserved up to the end of the batch's rows. Valid until the
  // next call. After the forward the caller adds the rows to each length.
  PagedKeys keys(const std::vector<KvSequence*>& sequences, const Batch& batch);

 private:
  int32_t take();
  void add_user(int32_t page, bool cached);
  void drop(int32_t page);

  const Architecture& architecture_;
  DType dtype_;
  std::shared_ptr<Arena> arena_;
  Memory* memory_;
  int64_t layer_bytes_;           // of one layer of a page
  std::vector<Tensor> pages_;     // by page, undefined until allocated
  std::vector<void*> addresses_;  // by page
  std::vector<int32_t> users_;    // by page
  std::vector<int32_t> free_;     // allocated ones at the end, which is where pages are taken from
  int64_t cached_ = 0, allocated_ = 0;
  std::vector<int32_t> table_, past_;  // of keys()
};

}  // namespace rubricate
