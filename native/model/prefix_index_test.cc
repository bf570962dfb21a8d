#include "model/prefix_index.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>
#include <vector>

#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

constexpr int32_t kNone = PrefixIndex::kNone;
using Tokens = std::vector<int32_t>;

// `pages` full pages of tokens; equal kinds give equal pages.
Tokens pages_of(const std::vector<int32_t>& kinds) {
  Tokens tokens;
  for (const int32_t kind : kinds)
    for (int64_t i = 0; i < kKeyBlock; ++i) tokens.push_back(kind * 1000 + static_cast<int32_t>(i));
  return tokens;
}

// Inserts pages that hold `tokens` one behind the other, in use.
void insert_all(PrefixIndex& index, uint64_t domain, int64_t version, const Tokens& tokens,
                const std::vector<int32_t>& pages) {
  int32_t before = kNone;
  for (size_t i = 0; i < pages.size(); ++i) {
    index.set_used(pages[i], true);
    before = index.insert(domain, version, before, tokens.data() + i * kKeyBlock, pages[i]);
    REQUIRE(before == pages[i]);
  }
}

std::vector<int32_t> looked_up(PrefixIndex& index, uint64_t domain, int64_t version, const Tokens& tokens) {
  return index.lookup(domain, version, tokens.data(), static_cast<int64_t>(tokens.size()));
}

// What the index should do, by a map of whole prefixes and a search over all pages. It is also the pool: it counts the
// users of each page.
class Naive {
 public:
  using Key = std::tuple<uint64_t, int64_t, Tokens>;  // domain, version, all tokens up to the page's end
  explicit Naive(int32_t pages) : users(static_cast<size_t>(pages)), last_used_(static_cast<size_t>(pages)) {}

  std::vector<int32_t> lookup(uint64_t domain, int64_t version, const Tokens& tokens) const {
    std::vector<int32_t> found;
    for (size_t end = kKeyBlock; end <= tokens.size(); end += kKeyBlock) {
      const auto entry = entries.find(key(domain, version, tokens, end));
      if (entry == entries.end()) break;
      found.push_back(entry->second);
    }
    return found;
  }
  int32_t evicted() const {
    const Key* least = nullptr;
    for (const auto& [key, page] : entries) {
      if (users[at(page)] > 0 || continued(key)) continue;
      if (least == nullptr || last_used_[at(page)] < last_used_[at(entries.at(*least))]) least = &key;
    }
    return least == nullptr ? kNone : entries.at(*least);
  }
  void remove(int32_t page) {
    std::erase_if(entries, [&](const auto& entry) { return entry.second == page; });
  }
  // Pages of the entries that begin with this page's tokens.
  std::vector<int32_t> continuing(int32_t page) const {
    std::vector<int32_t> all;
    for (const auto& [key, own] : entries)
      if (own == page)
        for (const auto& [other, at] : entries)
          if (begins(other, key)) all.push_back(at);
    return all;
  }
  void touch(int32_t page) { last_used_[at(page)] = ++uses_; }
  int64_t unused() const {
    return std::count_if(entries.begin(), entries.end(),
                         [&](const auto& entry) { return users[at(entry.second)] == 0; });
  }
  static Key key(uint64_t domain, int64_t version, const Tokens& tokens, size_t end) {
    return {domain, version, Tokens(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(end))};
  }
  static size_t at(int32_t page) { return static_cast<size_t>(page); }

  std::map<Key, int32_t> entries;
  std::vector<int32_t> users;

 private:
  static bool begins(const Key& longer, const Key& with) {
    const auto& [domain, version, tokens] = longer;
    const auto& [own_domain, own_version, own] = with;
    return domain == own_domain && version == own_version && tokens.size() >= own.size() &&
           std::equal(own.begin(), own.end(), tokens.begin());
  }
  bool continued(const Key& key) const {
    return std::any_of(entries.begin(), entries.end(), [&](const auto& entry) {
      return std::get<2>(entry.first).size() > std::get<2>(key).size() && begins(entry.first, key);
    });
  }
  std::vector<uint64_t> last_used_;
  uint64_t uses_ = 0;
};

// Sequences that come, share, grow, end and are forgotten by seed, on the index and on the naive one.
class Schedule {
 public:
  Schedule(uint64_t seed, int32_t pages, int64_t buckets)
      : seed_(seed), index_(pages, seed, buckets), naive_(pages), free_(static_cast<size_t>(pages)) {
    std::iota(free_.begin(), free_.end(), 0);
  }

  void step() {
    const int64_t kind = draw(10);
    if (kind < 6)
      begin();
    else if (kind < 9)
      end();
    else
      forget();
    REQUIRE(index_.cached() == naive_.unused());
  }
  const PrefixStats& stats() const { return index_.stats(); }

 private:
  struct Sequence {
    std::vector<int32_t> pages;
  };
  int64_t draw(int64_t below) {
    return static_cast<int64_t>(philox_uniform(seed_, 0, ++at_) * static_cast<double>(below));
  }
  void use(int32_t page) {
    if (naive_.users[Naive::at(page)]++ > 0) return;
    index_.set_used(page, true);
    naive_.touch(page);
  }
  void unuse(int32_t page) {
    if (--naive_.users[Naive::at(page)] > 0) return;
    index_.set_used(page, false);
    naive_.touch(page);
    if (!index_.holds(page)) free_.push_back(page);
  }
  int32_t take() {
    if (!free_.empty()) {
      const int32_t page = free_.back();
      free_.pop_back();
      return page;
    }
    const int32_t expected = naive_.evicted();
    REQUIRE(index_.evict() == expected);
    if (expected != kNone) naive_.remove(expected);
    return expected;
  }
  void begin() {
    const auto domain = static_cast<uint64_t>(draw(2));
    const int64_t version = draw(2);
    std::vector<int32_t> kinds(static_cast<size_t>(1 + draw(5)));
    for (int32_t& kind : kinds) kind = static_cast<int32_t>(draw(2));
    const Tokens tokens = pages_of(kinds);
    Sequence sequence{looked_up(index_, domain, version, tokens)};
    REQUIRE(sequence.pages == naive_.lookup(domain, version, tokens));
    for (const int32_t page : sequence.pages) use(page);
    bool indexed = true;
    while (sequence.pages.size() < kinds.size()) {
      const int32_t page = take();
      if (page == kNone) break;
      use(page);
      if (indexed) {
        const size_t first = sequence.pages.size() * kKeyBlock;
        const int32_t before = sequence.pages.empty() ? kNone : sequence.pages.back();
        indexed = index_.insert(domain, version, before, tokens.data() + first, page) == page;
        if (indexed) naive_.entries[Naive::key(domain, version, tokens, first + kKeyBlock)] = page;
      }
      sequence.pages.push_back(page);
    }
    sequences_.push_back(std::move(sequence));
  }
  void end() {
    if (sequences_.empty()) return;
    std::swap(sequences_[static_cast<size_t>(draw(static_cast<int64_t>(sequences_.size())))], sequences_.back());
    std::vector<int32_t> pages = sequences_.back().pages;
    sequences_.pop_back();
    if (draw(2) == 0) std::reverse(pages.begin(), pages.end());
    for (const int32_t page : pages) unuse(page);
  }
  void forget() {
    const auto page = static_cast<int32_t>(draw(static_cast<int64_t>(naive_.users.size())));
    std::vector<int32_t> expected, got = index_.forget(page);
    for (const int32_t gone : naive_.continuing(page)) {
      if (naive_.users[Naive::at(gone)] == 0) expected.push_back(gone);
      naive_.remove(gone);
    }
    free_.insert(free_.end(), got.begin(), got.end());
    std::sort(expected.begin(), expected.end());
    std::sort(got.begin(), got.end());
    REQUIRE(got == expected);
  }

  uint64_t seed_, at_ = 0;
  PrefixIndex index_;
  Naive naive_;
  std::vector<int32_t> free_;
  std::vector<Sequence> sequences_;
};

}  // namespace

TEST_CASE("prefix index: does what a search over whole prefixes does, with few buckets and many") {
  int64_t found = 0, evicted = 0, not_indexed = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    Schedule schedule(seed, seed % 2 == 0 ? 12 : 40, seed % 3 == 0 ? 1 : 0);
    for (int step = 0; step < 300; ++step) schedule.step();
    found += schedule.stats().pages_found;
    evicted += schedule.stats().evicted;
    not_indexed += schedule.stats().not_indexed;
  }
  CHECK(found > 1000);
  CHECK(evicted > 1000);
  CHECK(not_indexed > 100);
}

TEST_CASE("prefix index: finds full pages only, and those of the same domain, version and beginning") {
  PrefixIndex index(8);
  const Tokens tokens = pages_of({1, 2, 3});
  insert_all(index, 7, 5, tokens, {4, 0, 2});
  CHECK(looked_up(index, 7, 5, tokens) == std::vector<int32_t>{4, 0, 2});
  CHECK(index.lookup(7, 5, tokens.data(), 3 * kKeyBlock - 1) == std::vector<int32_t>{4, 0});
  CHECK(index.lookup(7, 5, tokens.data(), kKeyBlock - 1).empty());
  CHECK(looked_up(index, 8, 5, tokens).empty());
  CHECK(looked_up(index, 7, 6, tokens).empty());
  CHECK(looked_up(index, 7, 5, pages_of({2, 3})).empty());
  CHECK(looked_up(index, 7, 5, pages_of({1, 3})) == std::vector<int32_t>{4});
  Tokens last = tokens;
  ++last[2 * kKeyBlock - 1];
  CHECK(looked_up(index, 7, 5, last) == std::vector<int32_t>{4});
  CHECK(index.stats().lookups == 8);
  CHECK(index.stats().pages_wanted == 3 + 2 + 0 + 3 + 3 + 2 + 2 + 3);
  CHECK(index.stats().pages_found == 3 + 2 + 1 + 1);
}

TEST_CASE("prefix index: the second of two equal pages gives way to the first") {
  PrefixIndex index(4);
  insert_all(index, 0, 0, pages_of({1}), {3});
  index.set_used(1, true);
  CHECK(index.insert(0, 0, kNone, pages_of({1}).data(), 1) == 3);
  CHECK(!index.holds(1));
  CHECK(index.insert(0, 0, 3, pages_of({1}).data(), 1) == 1);
}

TEST_CASE("prefix index: evicts the least recently used first, and leaves before what they continue") {
  PrefixIndex index(6);
  insert_all(index, 0, 0, pages_of({1, 2}), {0, 1});
  insert_all(index, 0, 0, pages_of({5}), {2});
  CHECK(index.evict() == kNone);
  for (const int32_t page : {0, 1, 2}) index.set_used(page, false);
  CHECK(index.cached() == 3);
  index.set_used(1, true);  // found again
  index.set_used(1, false);
  CHECK(index.evict() == 2);
  CHECK(index.evict() == 1);
  CHECK(index.evict() == 0);
  CHECK(index.evict() == kNone);
  CHECK(index.cached() == 0);
  CHECK(looked_up(index, 0, 0, pages_of({1, 2})).empty());
}

TEST_CASE("prefix index: forgets a page with all that continue it, and says which are free") {
  PrefixIndex index(6);
  insert_all(index, 0, 0, pages_of({1, 2, 3}), {0, 1, 2});
  index.set_used(3, true);
  CHECK(index.insert(0, 0, 0, pages_of({9}).data(), 3) == 3);
  for (const int32_t page : {1, 2}) index.set_used(page, false);
  CHECK(index.forget(1) == std::vector<int32_t>{2, 1});
  CHECK(looked_up(index, 0, 0, pages_of({1, 2, 3})) == std::vector<int32_t>{0});
  CHECK(index.forget(0).empty());  // both are used
  CHECK(looked_up(index, 0, 0, pages_of({1, 9})).empty());
  CHECK(index.forget(0).empty());
  index.set_used(0, false);  // not indexed: its pool takes it back
  CHECK(index.cached() == 0);
  CHECK(index.evict() == kNone);
}

TEST_CASE("prefix index: one bucket still gives right answers, and bounds its chain") {
  PrefixIndex index(40, 0, 1);
  for (int32_t page = 0; page < 40; ++page) {
    index.set_used(page, true);
    const int32_t held = index.insert(0, 0, kNone, pages_of({page}).data(), page);
    CHECK(held == (page < PrefixIndex::kLongestChain ? page : kNone));
  }
  for (int32_t page = 0; page < 40; ++page)
    CHECK(looked_up(index, 0, 0, pages_of({page})).size() == (page < PrefixIndex::kLongestChain ? 1 : 0));
  CHECK(index.stats().not_indexed == 40 - PrefixIndex::kLongestChain);
}

TEST_CASE("prefix index: refuses what the pool may not do") {
  PrefixIndex index(4);
  const Tokens tokens = pages_of({1});
  const auto code = [&](int32_t before, int32_t page) {
    return error_code([&] { index.insert(0, 0, before, tokens.data(), page); });
  };
  CHECK(code(kNone, 0) == "ERR_INTERNAL");  // not used
  index.set_used(0, true);
  CHECK(code(1, 0) == "ERR_INTERNAL");  // not indexed before
  CHECK(code(kNone, 4) == "ERR_INTERNAL");
  CHECK(code(kNone, 0) == "");
  CHECK(code(kNone, 0) == "ERR_INTERNAL");  // indexed already
  index.set_used(1, true);
  index.set_used(0, false);
  CHECK(code(0, 1) == "ERR_INTERNAL");  // nobody uses what it continues
}
