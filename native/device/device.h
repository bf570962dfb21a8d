// A CUDA device and its memory, with a limit and statistics. (The CPU has no object: code without a device, or with an
// arena without a stream, computes on the CPU.)
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "device/cuda/abi.h"

namespace rubricate {

class Arena;

struct DeviceMemory {
  int64_t used = 0;    // bytes in use by tensors
  int64_t cached = 0;  // bytes that arenas cache for reuse
  int64_t peak = 0;    // the maximum of used + cached
  int64_t limit = 0;   // of used + cached; 0: only the device's own
  int64_t total = 0;   // of the device
  int64_t free = 0;    // on the device, for all processes
};

// Thread-safe. One object per device, which lives until the process ends.
class Device {
 public:
  // Number of CUDA devices. Throws ERR_DEVICE with a reason if there is none: no plug-in (loader.h), no driver, a
  // driver too old, or no device.
  static int32_t count();
  // Throws ERR_DEVICE, also if there is no device of that index.
  static Device& cuda(int32_t index);

  int32_t index() const { return index_; }
  const RubricateDeviceInfo& info() const { return info_; }  // as of the first request for the device
  bool emulated() const { return info_.emulated != 0; }
  std::string name() const;  // "cuda:0 (NVIDIA H200)"

  // Memory directly from the device; arenas cache and reuse it. Before it throws ERR_OUT_OF_MEMORY, it releases what
  // the device's arenas cache.
  void* allocate(int64_t bytes);
  void release(void* address, int64_t bytes) noexcept;
  void attach(Arena* arena);
  void detach(Arena* arena) noexcept;
  void set_limit(int64_t bytes);  // 0: none
  DeviceMemory memory();          // asks the driver, which can take milliseconds
  // The same without a call of the driver, for a thread that must not wait: `free` is what memory() found last, less what
  // this process has allocated since, so that it does not know of other processes' changes.
  DeviceMemory remembered_memory() const;

  // Throws unless `status` is OK: ERR_OUT_OF_MEMORY, ERR_DEVICE_LOST, ERR_DEVICE or ERR_INTERNAL; `what` names the
  // failed call. Once the device is lost, every later check throws ERR_DEVICE_LOST.
  void check(int32_t status, const char* what);
  bool lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  explicit Device(int32_t index);
  int32_t take(int64_t bytes, void** address);  // a RubricateStatus
  void trim_arenas() noexcept;

  const int32_t index_;
  const RubricateDeviceTable& table_;
  RubricateDeviceInfo info_{};
  std::atomic<bool> lost_{false};
  mutable Mutex arenas_lock_;  // lock order: this one, an arena's own, figures_lock_
  std::vector<Arena*> arenas_;
  mutable Mutex figures_lock_;
  int64_t held_ = 0, peak_ = 0, limit_ = 0;
  int64_t free_ = 0;  // of remembered_memory()
};

}  // namespace rubricate
