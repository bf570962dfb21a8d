// A CUDA device: its memory, with a limit and figures. (The CPU needs no object: code that is given no device, or an
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
  int64_t used = 0;    // bytes that tensors hold
  int64_t cached = 0;  // bytes that arenas keep for reuse
  int64_t peak = 0;    // the most that used and cached came to
  int64_t limit = 0;   // of used and cached; 0: none but the device's own
  int64_t total = 0;   // the device's
  int64_t free = 0;    // of it, free now, whoever holds the rest
};

// Thread-safe. One object for each device of the process, which stays until the process ends.
class Device {
 public:
  // How many CUDA devices there are. Throws ERR_DEVICE with a sentence where it is none: no plug-in (loader.h), no
  // driver, a driver too old, or no device.
  static int32_t count();
  // Throws ERR_DEVICE, also where there is no device of that index.
  static Device& cuda(int32_t index);

  int32_t index() const { return index_; }
  const RubricateDeviceInfo& info() const { return info_; }  // as it was when the device was first asked for
  bool emulated() const { return info_.emulated != 0; }
  std::string name() const;  // "cuda:0 (NVIDIA H200)"

  // Memory straight from the device; arenas keep and reuse it. Before it throws ERR_OUT_OF_MEMORY, it takes back what
  // the device's arenas keep.
  void* allocate(int64_t bytes);
  void release(void* address, int64_t bytes) noexcept;
  void attach(Arena* arena);
  void detach(Arena* arena) noexcept;
  void set_limit(int64_t bytes);  // 0: none
  DeviceMemory memory();

  // Throws what `status` says of a call for `what`: ERR_OUT_OF_MEMORY, ERR_DEVICE_LOST, ERR_DEVICE or ERR_INTERNAL.
  // Once the device is lost, every later check throws ERR_DEVICE_LOST.
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
  Mutex arenas_lock_;  // before an arena's own, which comes before figures_lock_
  std::vector<Arena*> arenas_;
  mutable Mutex figures_lock_;
  int64_t held_ = 0, peak_ = 0, limit_ = 0;
};

}  // namespace rubricate
