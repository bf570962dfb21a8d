#include "device/device.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "base/error.h"
#include "device/arena.h"
#include "device/cuda/loader.h"

namespace rubricate {

int32_t Device::count() {
  const RubricateDeviceTable& table = *cuda_plugin().table;
  int32_t devices = 0;
  const int32_t status = table.count(&devices);
  require(status == RUBRICATE_OK, "ERR_DEVICE", table.message());
  require(devices > 0, "ERR_DEVICE", "No CUDA device was found");
  return devices;
}

Device& Device::cuda(int32_t index) {
  static Mutex lock;
  static auto& devices = *new std::map<int32_t, std::unique_ptr<Device>>();
  const int32_t devices_there = count();
  require(index >= 0 && index < devices_there, "ERR_DEVICE", "Expected a CUDA device from 0 to ", devices_there - 1,
          " but received ", index);
  const std::lock_guard guard(lock);
  std::unique_ptr<Device>& device = devices[index];
  if (!device) device.reset(new Device(index));
  return *device;
}

Device::Device(int32_t index) : index_(index), table_(*cuda_plugin().table) {
  const int32_t status = table_.info(index, &info_);
  require(status == RUBRICATE_OK, "ERR_DEVICE", "CUDA device ", index, " cannot be used: ", table_.message());
  require(info_.capability >= 75, "ERR_DEVICE", "CUDA device ", index, " (", info_.name, ") has compute capability ",
          info_.capability / 10, ".", info_.capability % 10, ", but 7.5 is needed");
  free_ = info_.free_bytes;
}

std::string Device::name() const { return concat("cuda:", index_, " (", info_.name, ")"); }

void Device::check(int32_t status, const char* what) {
  if (status == RUBRICATE_OK && !lost()) return;
  if (status == RUBRICATE_DEVICE_LOST) lost_ = true;
  require(!lost(), "ERR_DEVICE_LOST", name(), " was lost: ",
          status == RUBRICATE_OK ? "an earlier error made it unusable in this process" : table_.message());
  const char* const code = status == RUBRICATE_OUT_OF_MEMORY ? "ERR_OUT_OF_MEMORY"
                           : status == RUBRICATE_INVALID     ? "ERR_INTERNAL"
                                                             : "ERR_DEVICE";
  fail(code, what, " failed on ", name(), ": ", table_.message());
}

int32_t Device::take(int64_t bytes, void** address) {
  {
    const std::lock_guard guard(figures_lock_);
    if (limit_ > 0 && held_ + bytes > limit_) return RUBRICATE_OUT_OF_MEMORY;
    held_ += bytes;
  }
  const int32_t status = table_.allocate(index_, bytes, address);
  const std::lock_guard guard(figures_lock_);
  if (status != RUBRICATE_OK) {
    held_ -= bytes;
  } else {
    peak_ = std::max(peak_, held_);
    free_ = std::max<int64_t>(0, free_ - bytes);
  }
  return status;
}

void* Device::allocate(int64_t bytes) {
  void* address = nullptr;
  int32_t status = take(bytes, &address);
  if (status == RUBRICATE_OUT_OF_MEMORY) {
    trim_arenas();
    status = take(bytes, &address);
  }
  if (status == RUBRICATE_OUT_OF_MEMORY) {
    const DeviceMemory now = memory();
    fail("ERR_OUT_OF_MEMORY", "Could not allocate ", bytes, " bytes on ", name(), ": ", now.used, " bytes in use, ",
         now.free, " of ", now.total, " free", now.limit > 0 ? concat(", limited to ", now.limit) : std::string());
  }
  check(status, "Allocating memory");
  return address;
}

void Device::release(void* address, int64_t bytes) noexcept {
  table_.release(index_, address);  // the status is ignored: on a lost device release fails, and is not needed
  const std::lock_guard guard(figures_lock_);
  held_ -= bytes;
  free_ = std::min(info_.memory_bytes, free_ + bytes);
}

void Device::attach(Arena* arena) {
  const std::lock_guard guard(arenas_lock_);
  arenas_.push_back(arena);
}

void Device::detach(Arena* arena) noexcept {
  const std::lock_guard guard(arenas_lock_);
  std::erase(arenas_, arena);
}

void Device::trim_arenas() noexcept {
  const std::lock_guard guard(arenas_lock_);
  for (Arena* arena : arenas_) arena->trim();
}

void Device::set_limit(int64_t bytes) {
  require(bytes >= 0, "ERR_ARGUMENT", "Expected a limit of 0 or more bytes but received ", bytes);
  const std::lock_guard guard(figures_lock_);
  limit_ = bytes;
}

DeviceMemory Device::memory() {
  RubricateDeviceInfo now;
  const int32_t status = table_.info(index_, &now);
  if (status == RUBRICATE_OK) {
    const std::lock_guard guard(figures_lock_);
    free_ = now.free_bytes;
  }
  DeviceMemory memory = remembered_memory();
  if (status == RUBRICATE_OK)
    memory.free = now.free_bytes, memory.total = now.memory_bytes;
  else
    memory.free = memory.total = 0;
  return memory;
}

DeviceMemory Device::remembered_memory() const {
  DeviceMemory memory;
  {
    const std::lock_guard guard(arenas_lock_);
    for (const Arena* arena : arenas_) memory.cached += arena->stats().cached;
  }
  const std::lock_guard guard(figures_lock_);
  memory.total = info_.memory_bytes;
  memory.free = free_;
  memory.used = held_ - memory.cached;
  memory.peak = peak_;
  memory.limit = limit_;
  return memory;
}

}  // namespace rubricate
