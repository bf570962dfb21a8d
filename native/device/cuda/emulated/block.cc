#include "device/cuda/emulated/block.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

uint3 threadIdx{}, blockIdx{};
dim3 blockDim{}, gridDim{};

namespace rubricate::emulation {

Block block;

namespace {

constexpr size_t kStaticLimit = 48 << 10;  // as nvcc's

const char* state_text(State state) {
  switch (state) {
    case State::ready:
      return "can continue";
    case State::at_barrier:
      return "waits at __syncthreads";
    case State::at_collective:
      return "waits for its warp";
    default:
      return "has ended";
  }
}

bool same_place(const Location& a, const Location& b) {
  return a.line() == b.line() && a.column() == b.column() && std::strcmp(a.file_name(), b.file_name()) == 0;
}

// Resumes every thread at the barrier; each has then synchronized with all others.
void open_barrier() {
  for (unsigned i = 0; i < block.count; ++i) block.threads[i].arrived.acquire();
  for (unsigned i = 0; i < block.count; ++i) {
    Thread& thread = block.threads[i];
    if (thread.state != State::at_barrier) continue;
    thread.resumed.release();
    thread.state = State::ready;
  }
  block.waiting = 0;
}

}  // namespace

void die(const char* what) {
  std::fprintf(stderr, "CUDA emulation: %s, in kernel %s, block (%u, %u, %u)\n", what, block.kernel, block.index.x,
               block.index.y, block.index.z);
  const Thread* before = nullptr;
  int shown = 0;
  for (unsigned i = 0; i < block.count && shown < 8; ++i) {
    const Thread& thread = block.threads[i];
    const bool alike = before != nullptr && before->state == thread.state && same_place(before->where, thread.where);
    before = &thread;
    if (alike) continue;
    ++shown;
    std::fprintf(stderr, "  from thread (%u, %u, %u): %s", thread.index.x, thread.index.y, thread.index.z,
                 state_text(thread.state));
    if (thread.state == State::at_barrier || thread.state == State::at_collective)
      std::fprintf(stderr, " at %s:%u", thread.where.file_name(), thread.where.line());
    if (thread.state == State::at_collective) std::fprintf(stderr, " with mask %08x", thread.mask);
    std::fputc('\n', stderr);
  }
  if (block.current != nullptr)
    std::fprintf(stderr, "  found by thread (%u, %u, %u)\n", block.current->index.x, block.current->index.y,
                 block.current->index.z);
  std::abort();
}

void check_aligned(const void* address, size_t bytes) {
  if (reinterpret_cast<uintptr_t>(address) % bytes != 0) die("an access to an address that is not aligned to its size");
}

unsigned lane() { return block.current->lane; }

void wait_until_ready() {
  Thread& thread = *block.current;
  thread.fiber->leave();
}

void barrier(const Location& where) {
  Thread& thread = *block.current;
  for (unsigned i = 0; block.waiting > 0 && i < block.count; ++i) {
    const Thread& other = block.threads[i];
    if (other.state == State::at_barrier && !same_place(other.where, where)) {
      thread.where = where;
      thread.state = State::at_barrier;
      die("__syncthreads reached at different lines");
    }
    if (other.state == State::at_barrier) break;  // all waiting threads wait at the same line
  }
  thread.where = where;
  thread.state = State::at_barrier;
  thread.arrived.release();
  if (++block.waiting + block.ended == block.count)
    open_barrier();
  else
    wait_until_ready();
  thread.resumed.acquire();
}

bool barrier_any(bool vote, const Location& where) {
  barrier(where);  // all have read the result of the vote before
  block.voted = false;
  barrier(where);
  if (vote) block.voted = true;
  barrier(where);
  return block.voted;
}

void end_thread() {
  Thread& thread = *block.current;
  thread.state = State::ended;
  thread.arrived.release();
  ++block.ended;
  if (block.waiting > 0 && block.waiting + block.ended == block.count) open_barrier();
}

void* dynamic_shared() {
  if (block.dynamic_shared == nullptr) die("dynamic shared memory in a launch without any");
  return block.dynamic_shared;
}

// Memory of exactly this size, so that AddressSanitizer sees its ends.
void* static_shared(const void* key, size_t bytes, const char* name) {
  for (const SharedObject& object : block.static_shared)
    if (object.key == key) return object.memory;
  const NotTheKernels scope;
  block.static_bytes += bytes;
  if (block.static_bytes > kStaticLimit) {
    std::fprintf(stderr, "CUDA emulation: shared object %s is one too many for 48 KiB\n", name);
    die("more static shared memory than a block can have");
  }
  void* memory = nullptr;
  if (posix_memalign(&memory, 16, bytes) != 0) die("no memory for shared memory");
  std::memset(memory, 0xff, bytes);
  block.static_shared.push_back({key, memory, bytes});
  return memory;
}

}  // namespace rubricate::emulation
