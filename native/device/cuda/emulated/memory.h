// The memory of the emulated devices. Kernels and copies reach it; the host does not: an access from host code ends the
// process, as it does with a GPU. (Not with sanitizers, which want the system's allocator to see an array's ends.)
#pragma once

#include <cstddef>

namespace rubricate::emulation {

void* allocate_device_memory(size_t bytes);  // aligned to 256 bytes, NaN patterns; null where there is none
void release_device_memory(void* address);

// While one lives, device memory can be reached.
class DeviceAccess {
 public:
  DeviceAccess();
  ~DeviceAccess();
  DeviceAccess(const DeviceAccess&) = delete;
  DeviceAccess& operator=(const DeviceAccess&) = delete;
};

}  // namespace rubricate::emulation
