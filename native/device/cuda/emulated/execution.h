// The functions of a block that a kernel's threads can call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <source_location>

#include "device/cuda/emulated/host_api.h"
#include "device/cuda/emulated/types.h"

namespace rubricate::emulation {

using Location = std::source_location;

// Waits for all threads of the block that have not ended. Waiting at different lines is an error.
void barrier(const Location& where);
// The same; returns whether `vote` was true for any of the threads.
bool barrier_any(bool vote, const Location& where);

// The only primitive of a warp: waits until every lane of `mask` has reached the same line with the same mask. The last
// lane runs `combine(payloads)`, where payloads[lane] is null for lanes outside the mask; then all continue. As in
// CUDA, only __syncwarp orders memory: after a shuffle, a lane must not read what another wrote before it.
enum class Ordering { none, memory };
using Combine = void (*)(void* const* payloads);
void collective(uint32_t mask, void* payload, Combine combine, const Location& where,
                Ordering ordering = Ordering::none);

unsigned lane();  // of the thread that runs now

// Shared memory: the dynamic one, of the launch's size; and one object for each key, the same for all threads of the
// block.
void* dynamic_shared();
void* static_shared(const void* key, size_t bytes, const char* name);

// Copies (from null: zeros), which happen when the thread waits until at most `pending` of its groups are incomplete.
void copy_async(void* to, const void* from, size_t bytes);
void copy_async_commit();
void copy_async_wait(int pending);

// Ends the process with a report of where the block's threads are.
[[noreturn]] void die(const char* what);
void check_aligned(const void* address, size_t bytes);

// mma.h and its fragments.
void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
              const Location& where = Location::current());
void distribute_matrices(uint32_t (&words)[4], const uint16_t (&row)[8], bool transposed, const Location& where);
inline void load_matrices(uint32_t (&words)[4], const void* row, bool transposed,
                          const Location& where = Location::current()) {
  check_aligned(row, 16);
  uint16_t elements[8];
  std::memcpy(elements, row, sizeof elements);
  distribute_matrices(words, elements, transposed, where);
}

// Runs body(argument) once for each thread of the grid.
cudaError_t launch_grid(const char* name, dim3 grid, dim3 block, int64_t shared_bytes, void (*body)(void*),
                        void* argument);

// Runs the launch at once, or when the host waits for the stream.
cudaError_t enqueue_launch(cudaStream_t stream, std::function<cudaError_t()> launch);
// Those that wait.
int64_t waiting_launches();

template <typename Body>
cudaError_t launch(const char* name, dim3 grid, dim3 block, int64_t shared_bytes, cudaStream_t stream, Body body) {
  return enqueue_launch(stream, [=]() mutable {
    return launch_grid(
        name, grid, block, shared_bytes, [](void* argument) { (*static_cast<Body*>(argument))(); }, &body);
  });
}

}  // namespace rubricate::emulation
