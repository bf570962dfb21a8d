#include "device/stream.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "base/error.h"
#include "base/integers.h"
#include "device/cuda/loader.h"

namespace rubricate {
namespace {

constexpr int64_t kHalfBytes = 4 << 20;
constexpr int64_t kAlignment = 64;
constexpr int64_t kMarkedKernels = 8;  // between two marks: few for who waits, many against the cost of an event

}  // namespace

Stream::Stream(Device& device) : device_(device), table_(*cuda_plugin().table) {
  device_.check(table_.create_stream(device_.index(), &stream_), "Creating a stream");
}

Stream::~Stream() {
  table_.synchronize(stream_);
  for (const Half& half : halves_) {
    if (half.passed != nullptr) table_.destroy_event(half.passed);
    if (half.memory != nullptr) table_.release_pinned(device_.index(), half.memory);
  }
  for (RubricateEvent* mark : marks_)
    if (mark != nullptr) table_.destroy_event(mark);
  table_.destroy_stream(stream_);
}

void Stream::run_kernel(const char* kernel, const void* args) {
  const RubricateKernel run = cuda_kernel(kernel);
  device_.check(run(args, stream_), kernel);
  kernels_.fetch_add(1, std::memory_order_relaxed);
}

void Stream::make_staging() {
  if (halves_[1].passed != nullptr) return;
  for (Half& half : halves_) {
    void* memory = half.memory;
    if (memory == nullptr)
      device_.check(table_.allocate_pinned(device_.index(), kHalfBytes, &memory), "Allocating pinned memory");
    half.memory = static_cast<char*>(memory);
    if (half.passed == nullptr) device_.check(table_.create_event(device_.index(), &half.passed), "Creating an event");
  }
}

char* Stream::stage(int64_t bytes) {
  make_staging();
  if (filled_ + bytes > kHalfBytes) {
    device_.check(table_.record(stream_, halves_[half_].passed), "Recording an event");
    half_ = 1 - half_;
    filled_ = 0;
    device_.check(table_.synchronize_event(halves_[half_].passed), "Waiting for an event");
  }
  char* const memory = halves_[half_].memory + filled_;
  filled_ += round_up(bytes, kAlignment);
  return memory;
}

void Stream::upload(void* to, const void* from, int64_t bytes) {
  const std::lock_guard guard(lock_);
  for (int64_t done = 0; done < bytes;) {
    const int64_t piece = std::min(bytes - done, kHalfBytes);
    char* const staged = stage(piece);
    std::memcpy(staged, static_cast<const char*>(from) + done, static_cast<size_t>(piece));
    device_.check(table_.copy_to_device(stream_, static_cast<char*>(to) + done, staged, piece),
                  "Copying to the device");
    done += piece;
  }
}

void Stream::download(void* to, const void* from, int64_t bytes) {
  const std::lock_guard guard(lock_);
  for (int64_t done = 0; done < bytes;) {
    const int64_t piece = std::min(bytes - done, kHalfBytes);
    char* const staged = stage(piece);
    device_.check(table_.copy_to_host(stream_, staged, static_cast<const char*>(from) + done, piece),
                  "Copying to the host");
    device_.check(table_.synchronize(stream_), "Waiting for the device");
    std::memcpy(static_cast<char*>(to) + done, staged, static_cast<size_t>(piece));
    done += piece;
    downloaded_ += piece;
  }
}

void Stream::copy(void* to, const void* from, int64_t bytes) {
  if (bytes > 0) device_.check(table_.copy_on_device(stream_, to, from, bytes), "Copying on the device");
}

void Stream::fill(void* to, int32_t byte, int64_t bytes) {
  if (bytes > 0) device_.check(table_.fill(stream_, to, byte, bytes), "Filling memory");
}

void Stream::limit_backlog(bool wait) {
  const int64_t enqueued = kernels_.load(std::memory_order_relaxed);
  if (enqueued - marked_ >= kMarkedKernels) {
    RubricateEvent*& mark = marks_[mark_];
    if (mark == nullptr) device_.check(table_.create_event(device_.index(), &mark), "Creating an event");
    device_.check(table_.record(stream_, mark), "Recording an event");
    marked_ = enqueued;
    mark_ = 1 - mark_;
  }
  if (!wait || marks_[mark_] == nullptr || waited_ == marked_) return;
  device_.check(table_.synchronize_event(marks_[mark_]), "Waiting for an event");
  waited_ = marked_;
  ++backlog_waits_;
}

void Stream::synchronize() { device_.check(table_.synchronize(stream_), "Waiting for the device"); }

}  // namespace rubricate
