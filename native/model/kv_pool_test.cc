#include "model/kv_pool.h"

#include <algorithm>
#include <set>

#include "doctest/doctest.h"
#include "tests/test_model.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

// Remembers every page it is told to, and gives them up in the order in which they were left.
class KeepsAll : public KvPool::Memory {
 public:
  std::vector<int32_t> unused;
  std::set<int32_t> known;
  bool keep(int32_t page) override {
    if (known.count(page) == 0) return false;
    unused.push_back(page);
    return true;
  }
  void used(int32_t page) override { std::erase(unused, page); }
  int32_t evict() override {
    if (unused.empty()) return -1;
    const int32_t page = unused.front();
    unused.erase(unused.begin());
    known.erase(page);
    return page;
  }
};

const Architecture& architecture() {
  static const Architecture made = Architecture::parse(tiny_json({}));
  return made;
}

}  // namespace

TEST_CASE("a pool gives pages up to its capacity, all or none, and allocates one when it is first needed") {
  KvPool pool(architecture(), DType::f32, test_arena(), 4);
  KvSequence a, b;
  CHECK(pool.allocated_bytes() == 0);
  CHECK(pool.reserve(a, 65));
  CHECK(a.pages.size() == 2);
  CHECK(pool.reserve(a, 128));
  CHECK(pool.used() == 2);
  CHECK(pool.allocated_bytes() == 2 * KvPool::page_bytes(architecture(), DType::f32));
  CHECK(!pool.reserve(b, 129));
  CHECK(b.pages.empty());
  CHECK(pool.free() == 2);
  CHECK(pool.reserve(b, 128));
  CHECK(pool.free() == 0);
  pool.release(a);
  CHECK(a.pages.empty());
  CHECK(pool.free() == 2);
  CHECK(pool.reserve(b, 256));
  CHECK(std::set<int32_t>(b.pages.begin(), b.pages.end()).size() == 4);
  CHECK(error_code([] { KvPool none(architecture(), DType::f32, test_arena(), 0); }) == "ERR_ARGUMENT");
}

TEST_CASE("a page that two sequences share is free only when both have gone") {
  KeepsAll memory;
  KvPool pool(architecture(), DType::f32, test_arena(), 4, &memory);
  KvSequence a, b;
  CHECK(pool.reserve(a, 128));
  a.length = 128;
  memory.known = {a.pages[0]};
  const int32_t shared = a.pages[0];
  pool.share(b, {shared});
  CHECK(b.length == 64);
  CHECK(pool.users(shared) == 2);
  pool.release(a);
  CHECK(pool.users(shared) == 1);
  CHECK(pool.free() == 3);
  CHECK(pool.cached() == 0);
  pool.release(b);
  CHECK(pool.cached() == 1);
  CHECK(pool.used() == 0);
  pool.share(a, {shared});
  CHECK(pool.cached() == 0);
  CHECK(pool.used() == 1);
  CHECK(!pool.reserve(b, 4 * 64));
  pool.release(a);
  CHECK(pool.reserve(b, 4 * 64));  // the cached page is given up
  CHECK(memory.known.empty());
}

TEST_CASE("a page is replaced by one that holds the same") {
  KeepsAll memory;
  KvPool pool(architecture(), DType::f32, test_arena(), 4, &memory);
  KvSequence a, b;
  CHECK(pool.reserve(a, 64));
  CHECK(pool.reserve(b, 64));
  const int32_t kept = a.pages[0], own = b.pages[0];
  memory.known = {kept};
  pool.replace(b, 0, kept);
  CHECK(b.pages[0] == kept);
  CHECK(pool.users(kept) == 2);
  CHECK(pool.users(own) == 0);
  CHECK(pool.free() == 3);
}

TEST_CASE("a pool's counts add up after any calls, and a page is never two sequences' own") {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    KeepsAll memory;
    KvPool pool(architecture(), DType::f32, test_arena(), 9, &memory);
    std::vector<KvSequence> sequences(4);
    auto draw = [&, next = uint64_t{0}](int64_t count) mutable {
      return static_cast<int64_t>(philox_uniform(seed, 5, next++) * static_cast<double>(count));
    };
    for (int call = 0; call < 300; ++call) {
      KvSequence& one = sequences[static_cast<size_t>(draw(4))];
      const KvSequence& other = sequences[static_cast<size_t>(draw(4))];
      switch (draw(4)) {
        case 0:
          pool.release(one);
          break;
        case 1:
          if (!one.pages.empty() || other.pages.empty()) break;
          memory.known.insert(other.pages[0]);
          pool.share(one, {other.pages[0]});
          break;
        default: {
          const int64_t length = draw(64 * 5);
          const auto before = one.pages.size();
          const int64_t room = pool.free() + pool.cached();
          const bool reserved = pool.reserve(one, length);
          CHECK(reserved == (KvPool::pages_for(length) - static_cast<int64_t>(before) <= room));
          if (!reserved) CHECK(one.pages.size() == before);
        }
      }
      std::map<int32_t, int32_t> users;
      for (const KvSequence& sequence : sequences)
        for (const int32_t page : sequence.pages) ++users[page];
      for (int32_t page = 0; page < 9; ++page) REQUIRE(pool.users(page) == users[page]);
      REQUIRE(pool.used() == static_cast<int64_t>(std::count_if(users.begin(), users.end(),
                                                                [](const auto& entry) { return entry.second > 0; })));
      REQUIRE(pool.cached() == static_cast<int64_t>(memory.unused.size()));
    }
  }
}
