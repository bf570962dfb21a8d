// Which full pages of keys and values hold which tokens, so that sequences which begin alike share pages. Keys and
// values of a position depend only on the tokens up to it and on the adapter's version, so a shared page changes no bit.
//
// A page is known by (domain, version, the page before it, its kKeyBlock tokens). Domains keep tenants apart; version 0
// is the base. Entries are found by a hash, and a hit compares all of the key: a collision costs time, never an answer.
// At most kLongestChain entries share a bucket, so that tokens chosen to collide cost no more than that; what finds its
// bucket full is not indexed.
//
// The pool of pages tells which pages are in use. A page that nobody uses stays until evict() takes it: the least
// recently used first, and a page only after those that continue it. Pages are numbers; this class owns no memory of
// theirs. Not thread-safe.
//
//   admit     pages = lookup(...), set_used(page, true) for each that had no user; then compute the rest
//   full      if holds(page before): entry = insert(...); if that is another page, use it and give the own one back: both
//             hold the same bits
//   end       set_used(page, false) for each that loses its last user
//   take      a free page, else evict()
#pragma once

#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "ops/attention/attention.h"

namespace rubricate {

struct PrefixStats {
  int64_t lookups = 0;
  int64_t pages_wanted = 0, pages_found = 0;  // of all lookups
  int64_t inserted = 0, evicted = 0;
  int64_t not_indexed = 0;  // their bucket was full
};

class PrefixIndex {
 public:
  static constexpr int32_t kNone = -1;
  static constexpr int32_t kLongestChain = 16;

  // pages: the pool's capacity; page ids are 0 to pages - 1. seed: of the hash; it changes what collides, and so at most
  // which pages are found. buckets: for tests; 0: twice the pages or more.
  explicit PrefixIndex(int32_t pages, uint64_t seed = 0, int64_t buckets = 0);

  // The pages that hold the beginning of tokens [count], in order; full pages only. A prompt passes one token less than
  // it has, since the logits of its last token are wanted. They stay until the next call that takes pages: mark them
  // as used before.
  std::vector<int32_t> lookup(uint64_t domain, int64_t version, const int32_t* tokens, int64_t count);

  // `page`, which is in use, holds tokens [kKeyBlock] behind page `before` (kNone: at the beginning). Returns the page
  // that holds them in the index: `page`, or another that was there already; kNone if the bucket is full, and then
  // nothing behind it can be inserted. ERR_INTERNAL if `page` is indexed already, or `before` is not indexed or unused.
  int32_t insert(uint64_t domain, int64_t version, int32_t before, const int32_t* tokens, int32_t page);

  // A page got its first user, or lost its last one. Pages that are not indexed may be told too. Give back a sequence's
  // pages in any order.
  void set_used(int32_t page, bool used);

  // Removes the least recently used page that nobody uses and that none continues, and returns it; kNone: all are used.
  int32_t evict();

  // Forgets a page and all that continue it. Returns those of them that nobody uses, which are free now; the others stay
  // with their users.
  std::vector<int32_t> forget(int32_t page);

  bool holds(int32_t page) const { return at(page).indexed; }
  int64_t cached() const { return cached_; }  // indexed pages that nobody uses: evict() can take that many
  const PrefixStats& stats() const { return stats_; }

 private:
  struct Page {
    uint64_t domain = 0;
    int64_t version = 0;
    int32_t before = kNone;
    bool indexed = false, used = false;
    int32_t children = 0;                                                     // indexed pages that continue this one
    int32_t first_child = kNone, next_child = kNone, previous_child = kNone;  // a list of them
    int32_t next_in_bucket = kNone;
    uint64_t last_used = 0;
  };

  const Page& at(int32_t page) const;
  Page& at(int32_t page) { return const_cast<Page&>(std::as_const(*this).at(page)); }
  const int32_t* tokens_of(int32_t page) const { return tokens_.data() + page * kKeyBlock; }
  int32_t& bucket(uint64_t domain, int64_t version, int32_t before, const int32_t* tokens);
  int32_t find(int32_t first, uint64_t domain, int64_t version, int32_t before, const int32_t* tokens) const;
  bool evictable(const Page& page) const { return page.indexed && !page.used && page.children == 0; }
  void remove(int32_t page);
  void link_child(int32_t page);
  void unlink_child(int32_t page);

  std::vector<Page> pages_;
  std::vector<int32_t> tokens_;   // [pages, kKeyBlock]
  std::vector<int32_t> buckets_;  // first page of each; a power of two
  uint64_t seed_;
  std::set<std::pair<uint64_t, int32_t>> evictable_;  // (last use, page)
  uint64_t uses_ = 0;
  int64_t cached_ = 0;
  PrefixStats stats_;
};

}  // namespace rubricate
