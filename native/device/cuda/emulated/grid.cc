// Runs a grid block by block, and in a block thread by thread, each until it must wait.
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <numeric>

#include "device/cuda/emulated/block.h"
#include "device/cuda/emulated/devices.h"
#include "device/cuda/emulated/memory.h"

namespace rubricate::emulation {

void end_thread();

namespace {

std::mutex launch_lock;
std::vector<std::unique_ptr<Fiber>> fibers;
Token grid_begun, grid_ended;

// splitmix64: the next random word of the sequence.
uint64_t next_random(uint64_t& state) {
  uint64_t z = state += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

// 0, 1, 2 ... without a seed, else shuffled.
std::vector<uint32_t> order_of(uint32_t count, uint64_t seed, uint64_t which) {
  std::vector<uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0u);
  uint64_t state = seed * 0x100000001b3ull + which;
  for (uint32_t i = count; seed != 0 && i > 1; --i) std::swap(order[i - 1], order[next_random(state) % i]);
  return order;
}

void run_threads() {
  Fiber::begin();
  for (;;) {
    grid_begun.acquire();
    block.body(block.argument);
    grid_ended.release();
    end_thread();
    block.current->fiber->leave();
  }
}

void begin_block(uint3 index, uint32_t number) {
  block.index = ::blockIdx = index;
  block.waiting = block.ended = 0;
  for (uint32_t i = 0; i < block.count; ++i) {
    Thread& thread = block.threads[i];
    thread.index = {i % ::blockDim.x, i / ::blockDim.x % ::blockDim.y, i / (::blockDim.x * ::blockDim.y)};
    thread.lane = i % 32;
    thread.warp = i / 32;
    thread.state = State::ready;
    // New fibers for every block: ThreadSanitizer takes a fiber's actions as ordered, but blocks are not ordered.
    thread.fiber = fibers[(i + 37 * number) % block.count].get();
    thread.open_copies.clear();
    thread.groups.clear();
  }
}

void end_block() {
  const NotTheKernels scope;
  for (const SharedObject& object : block.static_shared) std::free(object.memory);
  block.static_shared.clear();
  block.static_bytes = 0;
}

void run_block(const std::vector<uint32_t>& order) {
  while (block.ended < block.count) {
    bool any = false;
    for (const uint32_t i : order) {
      Thread& thread = block.threads[i];
      if (thread.state != State::ready) continue;
      any = true;
      block.current = &thread;
      ::threadIdx = thread.index;
      thread.fiber->enter();
    }
    block.current = nullptr;
    if (!any) die("deadlock: every thread waits");
  }
}

void* new_dynamic_shared(size_t bytes) {
  if (bytes == 0) return nullptr;
  const NotTheKernels scope;
  void* memory = nullptr;
  if (posix_memalign(&memory, 128, bytes) != 0) die("no memory for shared memory");
  std::memset(memory, 0xff, bytes);
  return memory;
}

bool possible(dim3 grid, dim3 threads, int64_t shared_bytes) {
  const uint64_t count = uint64_t{threads.x} * threads.y * threads.z;
  return grid.x >= 1 && grid.x <= 0x7fffffffu && grid.y >= 1 && grid.y <= 65535 && grid.z >= 1 && grid.z <= 65535 &&
         count >= 1 && count <= 1024 && threads.z <= 64 && shared_bytes >= 0 && shared_bytes <= block_shared_bytes();
}

}  // namespace

cudaError_t launch_grid(const char* name, dim3 grid, dim3 threads, int64_t shared_bytes, void (*body)(void*),
                        void* argument) {
  if (const cudaError_t lost = begin_launch(); lost != cudaSuccess) return lost;
  if (!possible(grid, threads, shared_bytes)) return cudaErrorInvalidConfiguration;
  const std::lock_guard lock(launch_lock);
  const DeviceAccess access;
  const char* const text = std::getenv("RUBRICATE_EMULATION_SEED");
  const uint64_t seed = text != nullptr ? std::strtoull(text, nullptr, 10) : 0;
  ::gridDim = grid;
  ::blockDim = threads;
  block.kernel = name;
  block.body = body;
  block.argument = argument;
  block.count = threads.x * threads.y * threads.z;
  if (block.threads.size() < block.count) block.threads.resize(block.count);
  while (fibers.size() < block.count) fibers.push_back(std::make_unique<Fiber>(run_threads));
  Fiber::become_scheduler();
  grid_begun.release();
  const uint32_t blocks = grid.x * grid.y * grid.z;
  uint32_t number = 0;
  for (const uint32_t i : order_of(blocks, seed, 0)) {
    begin_block({i % grid.x, i / grid.x % grid.y, i / (grid.x * grid.y)}, number);
    block.dynamic_shared = new_dynamic_shared(static_cast<size_t>(shared_bytes));
    run_block(order_of(block.count, seed, ++number));
    end_block();
    const NotTheKernels scope;
    std::free(block.dynamic_shared);
  }
  grid_ended.acquire();
  return cudaSuccess;
}

}  // namespace rubricate::emulation
