#include "device/slabs.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "base/integers.h"
#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

constexpr int64_t kBytes = 73'728;  // an adapter of 12 layers of width 768

std::vector<std::shared_ptr<void>> filled(Slabs& slabs, int64_t count, int64_t bytes) {
  std::vector<std::shared_ptr<void>> blocks;
  for (int64_t i = 0; i < count; ++i) {
    blocks.push_back(slabs.allocate(bytes));
    std::memset(blocks.back().get(), static_cast<int>(i % 251), static_cast<size_t>(bytes));
  }
  return blocks;
}

bool keeps(const std::shared_ptr<void>& block, int64_t i, int64_t bytes) {
  const auto* const begin = static_cast<const unsigned char*>(block.get());
  return std::all_of(begin, begin + bytes, [i](unsigned char byte) { return byte == i % 251; });
}

}  // namespace

TEST_CASE("blocks of slabs are aligned, apart from each other, and keep what is written") {
  Slabs slabs;
  for (const int64_t bytes : {int64_t{0}, int64_t{1}, int64_t{64}, int64_t{100}, kBytes, int64_t{5} << 20}) {
    const int64_t count = bytes > 1 << 20 ? 3 : 150;
    const auto blocks = filled(slabs, count, bytes);
    for (int64_t i = 0; i < count; ++i) {
      CHECK(reinterpret_cast<uintptr_t>(blocks[static_cast<size_t>(i)].get()) % 64 == 0);
      CHECK(keeps(blocks[static_cast<size_t>(i)], i, bytes));
    }
  }
  CHECK(error_code([&] { slabs.allocate(int64_t{1} << 46); }) == "ERR_OUT_OF_MEMORY");
  CHECK(error_code([&] { slabs.allocate(-1); }) == "ERR_OUT_OF_MEMORY");
  CHECK(slabs.stats().used == 0);
  CHECK(slabs.stats().mapped == 0);
}

#if !defined(__SANITIZE_ADDRESS__)
namespace {

// How many of the pages that are wholly within a block take memory.
int64_t resident_pages(const void* block, int64_t bytes) {
  const int64_t page = sysconf(_SC_PAGESIZE), begin = reinterpret_cast<intptr_t>(block);
  const int64_t first = round_up(begin, page), end = (begin + bytes) / page * page;
  std::vector<unsigned char> resident(static_cast<size_t>((end - first) / page));
  void* const at = static_cast<char*>(const_cast<void*>(block)) + (first - begin);
  REQUIRE(mincore(at, static_cast<size_t>(end - first), resident.data()) == 0);
  return std::count_if(resident.begin(), resident.end(), [](unsigned char one) { return (one & 1) != 0; });
}

}  // namespace

TEST_CASE("a block that is given back takes no memory, whatever its neighbours do, and is the next one's place") {
  Slabs slabs;
  constexpr int64_t kCount = 400, kAll = kCount * kBytes;
  auto blocks = filled(slabs, kCount, kBytes);
  CHECK(slabs.stats().used == kAll);
  CHECK(slabs.stats().mapped <= kAll + (int64_t{4} << 20));
  std::vector<const void*> given_back;
  for (size_t i = 0; i < blocks.size(); i += 2) {
    given_back.push_back(blocks[i].get());
    blocks[i].reset();
  }
  CHECK(slabs.stats().used == kAll / 2);
  for (const void* const block : given_back) CHECK(resident_pages(block, kBytes) == 0);
  for (size_t i = 1; i < blocks.size(); i += 2) CHECK(keeps(blocks[i], static_cast<int64_t>(i), kBytes));
  const int64_t mapped = slabs.stats().mapped;
  const auto again = filled(slabs, kCount / 2, kBytes);
  CHECK(slabs.stats().mapped == mapped);
  for (size_t i = 1; i < blocks.size(); i += 2) CHECK(keeps(blocks[i], static_cast<int64_t>(i), kBytes));
}

TEST_CASE("a slab returns to the system with its last block") {
  Slabs slabs;
  auto blocks = filled(slabs, 300, kBytes);
  const int64_t mapped = slabs.stats().mapped;
  blocks.resize(1);
  CHECK(slabs.stats().mapped > 0);
  CHECK(slabs.stats().mapped < mapped);
  blocks.clear();
  CHECK(slabs.stats().mapped == 0);
}
#endif

TEST_CASE("threads take and give back blocks of the same slabs") {
  Slabs slabs;
  std::vector<std::thread> threads;
  std::vector<int> wrong(3);
  for (size_t at = 0; at < wrong.size(); ++at)
    threads.emplace_back([&slabs, &bad = wrong[at], at] {
      std::vector<std::shared_ptr<void>> own(20);
      for (size_t round = 0; round < 400; ++round) {
        const size_t place = (round * 7 + at) % own.size(), bytes = 64 * (1 + place % 3);
        const int value = static_cast<int>((place * 3 + at) % 251);
        if (own[place] != nullptr) {
          const auto* const begin = static_cast<const unsigned char*>(own[place].get());
          bad += !std::all_of(begin, begin + bytes, [value](unsigned char byte) { return byte == value; });
        }
        own[place] = slabs.allocate(static_cast<int64_t>(bytes));
        std::memset(own[place].get(), value, bytes);
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(3));
  CHECK(slabs.stats().used == 0);
  CHECK(slabs.stats().mapped == 0);
}
