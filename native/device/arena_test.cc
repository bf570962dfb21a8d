#include "device/arena.h"

#include <malloc.h>

#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

TEST_CASE("blocks are aligned, counted, and reused") {
  Arena arena(nullptr, true);
  const int64_t before = Arena::process_bytes();
  void* a = arena.allocate(1000);
  CHECK(reinterpret_cast<uintptr_t>(a) % 64 == 0);
  CHECK(arena.stats().used >= 1000);
  CHECK(Arena::process_bytes() - before == arena.stats().used);
  const int64_t one = arena.stats().used;
  void* b = arena.allocate(1000);
  CHECK(b != a);
  CHECK(arena.stats().peak == 2 * one);
  arena.release(a, 1000);
  CHECK(arena.stats().used == one);
  CHECK(arena.stats().cached == one);
  CHECK(arena.allocate(1000) == a);
  CHECK(arena.stats().cached == 0);
  CHECK(arena.stats().peak == 2 * one);
  arena.release(a, 1000);
  arena.release(b, 1000);
  CHECK(arena.stats().used == 0);
  arena.trim();
  CHECK(arena.stats().cached == 0);
  CHECK(Arena::process_bytes() == before);
}

TEST_CASE("similar sizes share blocks, which are larger by an eighth at most") {
  Arena arena(nullptr, true);
  for (int64_t bytes = 1; bytes < (int64_t{1} << 24); bytes = bytes * 5 / 4 + 1) {
    void* block = arena.allocate(bytes);
    std::memset(block, 1, static_cast<size_t>(bytes));
    const int64_t size = arena.stats().used;
    CHECK(size >= bytes);
    CHECK(size <= std::max<int64_t>(bytes + 63, bytes + bytes / 8));
    arena.release(block, bytes);
  }
  arena.trim();
  void* longer = arena.allocate(1 << 20);
  arena.release(longer, 1 << 20);
  void* shorter = arena.allocate((1 << 20) - 1000);
  CHECK(shorter == longer);
  arena.release(shorter, (1 << 20) - 1000);
}

TEST_CASE("0 bytes are a valid block; too many bytes are an error") {
  Arena arena(nullptr, true);
  void* nothing = arena.allocate(0);
  CHECK(nothing != nullptr);
  arena.release(nothing, 0);
  arena.release(nullptr, 0);
  CHECK(arena.stats().used == 0);
  CHECK(error_code([&] { arena.allocate(-1); }) == "ERR_OUT_OF_MEMORY");
  CHECK(error_code([&] { arena.allocate(int64_t{1} << 46); }) == "ERR_OUT_OF_MEMORY");
  CHECK(arena.stats().used == 0);
}

TEST_CASE("without caching, each tensor has exactly the requested bytes, which are freed at once") {
  Arena arena(nullptr, false);
  void* const a = arena.allocate(1000);
  CHECK(arena.stats().used == 1000);
  arena.release(a, 1000);
  CHECK(arena.stats().used == 0);
  CHECK(arena.stats().cached == 0);
}

TEST_CASE("threads may allocate and release at once") {
  Arena arena(nullptr, true);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&arena, i] {
      for (int round = 0; round < 500; ++round) {
        const int64_t bytes = 64 * (1 + (round + i) % 5);
        void* block = arena.allocate(bytes);
        std::memset(block, i, static_cast<size_t>(bytes));
        arena.release(block, bytes);
      }
    });
  for (auto& thread : threads) thread.join();
  CHECK(arena.stats().used == 0);
}

TEST_CASE("the cache is bounded if every block has a new size") {
  Arena arena(nullptr, true);
  for (int64_t size = 1000; size < 2'000'000; size += size / 7) arena.release(arena.allocate(size), size);
  const rubricate::ArenaStats stats = arena.stats();
  CHECK(stats.used == 0);
  CHECK(stats.cached <= stats.peak + stats.peak / 4);
}

TEST_CASE("after a large job, small ones release its memory gradually") {
  Arena arena(nullptr, true);
  const auto job = [&](int64_t size) {
    arena.release(arena.allocate(size), size);
    arena.end_job();
  };
  job(1 << 24);
  CHECK(arena.stats().cached == 1 << 24);
  job(1 << 24);
  CHECK(arena.stats().cached == 1 << 24);  // the same again: nothing was released
  for (int i = 0; i < 8; ++i) job(1 << 16);
  CHECK(arena.stats().cached < 1 << 20);
}

TEST_CASE("a job of other sizes takes the place of blocks that it does not use itself") {
  Arena arena(nullptr, true);
  // A training step: activations, whose size depends on the rows of a micro-batch, and logits, whose size does not.
  const auto step = [&](int64_t activation) {
    std::vector<void*> blocks;
    for (int i = 0; i < 12; ++i) blocks.push_back(arena.allocate(activation));
    arena.release(arena.allocate(1 << 24), 1 << 24);
    for (void* block : blocks) arena.release(block, activation);
    arena.end_job();
  };
  step(3 << 20);
  const int64_t blocks = arena.stats().blocks;
  step(3 << 19);
  CHECK(arena.stats().blocks == blocks + 12);  // its activations, not the logits again
  CHECK(arena.stats().cached <= arena.stats().peak + arena.stats().peak / 4);
  step(3 << 19);
  CHECK(arena.stats().blocks == blocks + 12);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // with them malloc is another
TEST_CASE("blocks that stay take little more than their bytes, though others of their size come and go between them") {
  constexpr int64_t kBytes = 73728;
  constexpr int kBlocks = 2000;
  const auto used = [] {
    const struct mallinfo2 all = mallinfo2();
    return static_cast<double>(all.arena + all.hblkhd);
  };
  const double before = used();
  std::vector<std::unique_ptr<Arena>> kept;
  std::vector<void*> blocks;
  for (int i = 0; i < kBlocks; ++i) {
    Arena copies(nullptr, false);
    void* const copy = copies.allocate(kBytes);
    blocks.push_back(kept.emplace_back(std::make_unique<Arena>(nullptr, false))->allocate(kBytes));
    copies.release(copy, kBytes);
  }
  CHECK((used() - before) / (1.0 * kBytes * kBlocks) < 1.05);
  for (size_t i = 0; i < blocks.size(); ++i) kept[i]->release(blocks[i], kBytes);
}
#endif
