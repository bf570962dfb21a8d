// Sharing of full pages among an engine's sequences: the index of prefixes as the memory of the pool.
#pragma once

#include <cstdint>
#include <vector>

#include "model/kv_pool.h"
#include "model/prefix_index.h"
#include "serve/sequence.h"

namespace rubricate {

class Prefixes : public KvPool::Memory {
 public:
  explicit Prefixes(int64_t pages) : index_(static_cast<int32_t>(pages)) {}

  // Gives a sequence without pages those that hold the beginning of its tokens, up to what is always computed: the last
  // token, and those before tokens to score.
  void find(KvPool& pool, Sequence& sequence);
  // After a step: the pages that it filled, from position `before` on, can be found from now on.
  void add(KvPool& pool, Sequence& sequence, int64_t before);
  int64_t cached() const { return index_.cached(); }

  bool keep(int32_t page) override;
  void used(int32_t page) override { index_.set_used(page, true); }
  int32_t evict() override { return index_.evict(); }

 private:
  PrefixIndex index_;
};

}  // namespace rubricate
