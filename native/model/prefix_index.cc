#include "model/prefix_index.h"

#include <algorithm>
#include <bit>

#include "base/error.h"

namespace rubricate {
namespace {

// Mixes 64 bits into a hash: a multiplication by an odd number, and the high half folded into the low one.
uint64_t mixed(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
  return hash ^ hash >> 32;
}

}  // namespace

PrefixIndex::PrefixIndex(int32_t pages, uint64_t seed, int64_t buckets) : seed_(seed) {
  require(pages >= 0 && buckets >= 0, "ERR_INTERNAL", "Expected 0 or more pages but received ", pages);
  pages_.resize(static_cast<size_t>(pages));
  tokens_.resize(static_cast<size_t>(pages) * kKeyBlock);
  const auto wanted = static_cast<uint64_t>(buckets > 0 ? buckets : std::max<int64_t>(1, 2 * int64_t{pages}));
  buckets_.assign(std::bit_ceil(wanted), kNone);
}

const PrefixIndex::Page& PrefixIndex::at(int32_t page) const {
  require(page >= 0 && static_cast<size_t>(page) < pages_.size(), "ERR_INTERNAL", "Expected a page from 0 to ",
          static_cast<int64_t>(pages_.size()) - 1, " but received ", page);
  return pages_[static_cast<size_t>(page)];
}

int32_t& PrefixIndex::bucket(uint64_t domain, int64_t version, int32_t before, const int32_t* tokens) {
  uint64_t hash = mixed(seed_, domain);
  hash = mixed(hash, static_cast<uint64_t>(version));
  hash = mixed(hash, static_cast<uint32_t>(before));
  for (int64_t i = 0; i < kKeyBlock; i += 2)
    hash = mixed(hash, uint64_t{static_cast<uint32_t>(tokens[i])} << 32 | static_cast<uint32_t>(tokens[i + 1]));
  return buckets_[(hash ^ hash >> 29) & (buckets_.size() - 1)];
}

int32_t PrefixIndex::find(int32_t page, uint64_t domain, int64_t version, int32_t before, const int32_t* tokens) const {
  for (; page != kNone; page = at(page).next_in_bucket) {
    const Page& entry = at(page);
    if (entry.domain == domain && entry.version == version && entry.before == before &&
        std::equal(tokens, tokens + kKeyBlock, tokens_of(page)))
      return page;
  }
  return kNone;
}

std::vector<int32_t> PrefixIndex::lookup(uint64_t domain, int64_t version, const int32_t* tokens, int64_t count) {
  std::vector<int32_t> found;
  int32_t before = kNone;
  for (int64_t first = 0; first + kKeyBlock <= count; first += kKeyBlock) {
    before = find(bucket(domain, version, before, tokens + first), domain, version, before, tokens + first);
    if (before == kNone) break;
    found.push_back(before);
  }
  ++stats_.lookups;
  stats_.pages_wanted += count / kKeyBlock;
  stats_.pages_found += static_cast<int64_t>(found.size());
  return found;
}

int32_t PrefixIndex::insert(uint64_t domain, int64_t version, int32_t before, const int32_t* tokens, int32_t page) {
  Page& own = at(page);
  require(!own.indexed && own.used, "ERR_INTERNAL", "Expected a page that is used and not indexed but received ", page);
  require(before == kNone || (at(before).indexed && at(before).used), "ERR_INTERNAL",
          "Expected an indexed page in use before page ", page, " but received ", before);
  int32_t& first = bucket(domain, version, before, tokens);
  const int32_t known = find(first, domain, version, before, tokens);
  if (known != kNone) return known;
  int32_t chain = 0;
  for (int32_t other = first; other != kNone; other = at(other).next_in_bucket) ++chain;
  if (chain >= kLongestChain) {
    ++stats_.not_indexed;
    return kNone;
  }
  own.domain = domain;
  own.version = version;
  own.before = before;
  own.indexed = true;
  own.next_in_bucket = first;
  first = page;
  std::copy(tokens, tokens + kKeyBlock, tokens_.begin() + page * kKeyBlock);
  if (before != kNone) link_child(page);
  ++stats_.inserted;
  return page;
}

void PrefixIndex::link_child(int32_t page) {
  Page &child = at(page), &parent = at(child.before);
  if (!parent.used && parent.children == 0) evictable_.erase({parent.last_used, child.before});
  child.previous_child = kNone;
  child.next_child = parent.first_child;
  if (child.next_child != kNone) at(child.next_child).previous_child = page;
  parent.first_child = page;
  ++parent.children;
}

void PrefixIndex::unlink_child(int32_t page) {
  Page &child = at(page), &parent = at(child.before);
  (child.previous_child == kNone ? parent.first_child : at(child.previous_child).next_child) = child.next_child;
  if (child.next_child != kNone) at(child.next_child).previous_child = child.previous_child;
  --parent.children;
  if (evictable(parent)) evictable_.insert({parent.last_used, child.before});
}

void PrefixIndex::set_used(int32_t id, bool used) {
  Page& page = at(id);
  if (page.used == used) return;
  if (evictable(page)) evictable_.erase({page.last_used, id});
  page.used = used;
  page.last_used = ++uses_;
  if (evictable(page)) evictable_.insert({page.last_used, id});
  if (page.indexed) cached_ += used ? -1 : 1;
}

// Takes a page that none continues out of the index.
void PrefixIndex::remove(int32_t id) {
  Page& page = at(id);
  if (evictable(page)) evictable_.erase({page.last_used, id});
  if (!page.used) --cached_;
  int32_t* link = &bucket(page.domain, page.version, page.before, tokens_of(id));
  while (*link != id) link = &at(*link).next_in_bucket;
  *link = page.next_in_bucket;
  page.indexed = false;
  if (page.before != kNone) unlink_child(id);
  page.before = page.next_in_bucket = page.next_child = page.previous_child = kNone;
}

int32_t PrefixIndex::evict() {
  if (evictable_.empty()) return kNone;
  const int32_t page = evictable_.begin()->second;
  remove(page);
  ++stats_.evicted;
  return page;
}

std::vector<int32_t> PrefixIndex::forget(int32_t page) {
  std::vector<int32_t> free;
  if (!at(page).indexed) return free;
  std::vector<int32_t> order{page};  // each page before those that continue it
  for (size_t i = 0; i < order.size(); ++i)
    for (int32_t child = at(order[i]).first_child; child != kNone; child = at(child).next_child) order.push_back(child);
  for (auto last = order.rbegin(); last != order.rend(); ++last) {
    remove(*last);
    if (!at(*last).used) free.push_back(*last);
  }
  return free;
}

}  // namespace rubricate
