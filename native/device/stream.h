// A queue of work on a device, which runs in order. A model has one stream, which its own thread feeds. A block that an
// arena of that stream reuses is used only by later work of the same stream, so nothing has to wait for a block to
// become free.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <type_traits>

#include "base/mutex.h"
#include "device/cuda/abi.h"
#include "device/device.h"

namespace rubricate {

// Calls throw ERR_DEVICE_LOST, ERR_OUT_OF_MEMORY, ERR_INTERNAL. Thread-safe; work runs in the order of the calls.
class Stream {
 public:
  explicit Stream(Device& device);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  Device& device() const { return device_; }

  // Enqueues a kernel: stream.run("swiglu_forward/1", args). Its pointers are device pointers.
  template <typename Args>
  void run(const char* kernel, const Args& args) {
    static_assert(std::is_trivially_copyable_v<Args>);
    run_kernel(kernel, &args);
  }

  // Host memory may be changed or freed as soon as upload returns. Large uploads go through pinned memory in pieces.
  void upload(void* to, const void* from, int64_t bytes);
  // Waits for all earlier work and the copy.
  void download(void* to, const void* from, int64_t bytes);
  int64_t downloaded() const { return downloaded_.load(std::memory_order_relaxed); }  // bytes so far
  void copy(void* to, const void* from, int64_t bytes);                               // on the device
  void fill(void* to, int32_t byte, int64_t bytes);
  void synchronize();
  // For a long job beside short ones, between its kernels: marks the position, if 8 kernels or more were enqueued since the last
  // mark. `wait`: waits for the mark before the last, so that what is enqueued next begins soon; the device has at least 8 kernels to
  // go on with. Only the thread that feeds the stream may call it.
  void limit_backlog(bool wait);
  int64_t kernels() const { return kernels_.load(std::memory_order_relaxed); }  // enqueued so far
  int64_t backlog_waits() const { return backlog_waits_; }

 private:
  // Half of the pinned memory: filled from the front; reused once the stream has passed the event `passed`.
  struct Half {
    char* memory = nullptr;
    RubricateEvent* passed = nullptr;
  };
  void run_kernel(const char* kernel, const void* args);
  void make_staging();
  char* stage(int64_t bytes);  // under the lock: pinned memory that the stream no longer reads

  Device& device_;
  const RubricateDeviceTable& table_;
  RubricateStream* stream_ = nullptr;
  Mutex lock_;
  Half halves_[2];
  int half_ = 0;
  int64_t filled_ = 0;
  std::atomic<int64_t> downloaded_{0};
  std::atomic<int64_t> kernels_{0};  // enqueued so far
  // Of limit_backlog: events in turn, each recorded at least 8 kernels after the other.
  RubricateEvent* marks_[2] = {};
  int mark_ = 0;
  int64_t marked_ = 0;  // kernels_ at the last mark
  int64_t waited_ = 0;  // marked_ at the last wait
  int64_t backlog_waits_ = 0;
};

}  // namespace rubricate
