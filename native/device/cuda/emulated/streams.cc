// Streams and events. Work runs at once, or, with RUBRICATE_EMULATION_LAG=1, only when the host waits for it: a device that
// is always behind. Then a test can see how much has been enqueued before a job, and whether host memory changes too early.
#include <atomic>
#include <chrono>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <set>
#include <utility>

#include "device/cuda/emulated/devices.h"
#include "device/cuda/emulated/execution.h"
#include "device/cuda/emulated/memory.h"

using namespace rubricate::emulation;

struct EmulatedStream {
  int device;
  std::mutex lock;
  std::deque<std::function<void()>> waiting;
  int64_t done = 0;  // of all that were enqueued
};
struct EmulatedEvent {
  std::chrono::steady_clock::time_point time;
  cudaStream_t stream = nullptr;
  int64_t position = 0;  // in the stream: what was enqueued before
};

namespace rubricate::emulation {
namespace {

std::mutex streams_lock;
std::set<cudaStream_t> streams;
std::atomic<int64_t> launches{0};  // that wait

bool lags() { return setting("RUBRICATE_EMULATION_LAG", 0) != 0; }

// Runs a stream's work until `position` is done. Returns at once where it is.
void run_until(cudaStream_t stream, int64_t position) {
  const std::lock_guard lock(stream->lock);
  while (stream->done < position && !stream->waiting.empty()) {
    const std::function<void()> next = std::move(stream->waiting.front());
    stream->waiting.pop_front();
    next();
    ++stream->done;
  }
}
void run_next(cudaStream_t stream) {
  stream->lock.lock();
  const int64_t done = stream->done;
  stream->lock.unlock();
  run_until(stream, done + 1);
}
bool idle(cudaStream_t stream) {
  const std::lock_guard lock(stream->lock);
  return stream->waiting.empty();
}
int64_t enqueued(cudaStream_t stream) {
  const std::lock_guard lock(stream->lock);
  return stream->done + static_cast<int64_t>(stream->waiting.size());
}
void run_all(cudaStream_t stream) { run_until(stream, enqueued(stream)); }

// Whether work in this stream runs at once: on a device that does not lag, and in the default stream (null), which waits
// for all others. What was enqueued before has then run.
bool runs_at_once(cudaStream_t stream) {
  if (stream == nullptr) {
    run_streams();
    return true;
  }
  if (lags()) return false;
  run_all(stream);  // of a time when it lagged
  return true;
}

void run_or_enqueue(cudaStream_t stream, std::function<void()> work) {
  if (runs_at_once(stream)) return work();
  const std::lock_guard lock(stream->lock);
  stream->waiting.push_back(std::move(work));
}

}  // namespace

cudaError_t enqueue_launch(cudaStream_t stream, std::function<cudaError_t()> launch) {
  if (runs_at_once(stream)) return launch();
  if (const cudaError_t error = begin_launch(); error != cudaSuccess) return error;
  ++launches;
  run_or_enqueue(stream, [launch = std::move(launch)] {
    --launches;
    if (launch() != cudaSuccess) die("a launch of a device that lags failed");
  });
  return cudaSuccess;
}

void run_streams() {
  const std::lock_guard lock(streams_lock);
  for (cudaStream_t stream : streams) run_all(stream);
}

int64_t waiting_launches() { return launches; }

}  // namespace rubricate::emulation

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  if (state() != cudaSuccess) return state();
  run_or_enqueue(stream, [=] {
    const DeviceAccess access;
    std::memmove(to, from, bytes);
  });
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int byte, size_t bytes, cudaStream_t stream) {
  if (state() != cudaSuccess) return state();
  run_or_enqueue(stream, [=] {
    const DeviceAccess access;
    std::memset(to, byte, bytes);
  });
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  if (state() != cudaSuccess) return state();
  *stream = new EmulatedStream;
  (*stream)->device = present_device();
  const std::lock_guard lock(streams_lock);
  streams.insert(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  run_all(stream);
  const std::lock_guard lock(streams_lock);
  streams.erase(stream);
  delete stream;
  return cudaSuccess;
}
// A device that lags gets on by one piece of work while the host asks.
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  if (state_of(stream->device) != cudaSuccess) return state_of(stream->device);
  run_next(stream);
  return idle(stream) ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  run_all(stream);
  return state_of(stream->device);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (event->stream != nullptr) run_until(event->stream, event->position);
  return state_of(stream->device);
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new EmulatedEvent{};
  return state();
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->time = std::chrono::steady_clock::now();
  event->stream = stream;
  event->position = enqueued(stream);
  return state_of(stream->device);
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->stream != nullptr) run_until(event->stream, event->position);
  return state();
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  *milliseconds = std::chrono::duration<float, std::milli>(to->time - from->time).count();
  return cudaSuccess;
}
