// The memory of the emulated devices. Only kernels and copies can access it: an access from host code ends the process,
// as with a GPU. (Not with sanitizers, which need the system's allocator to detect an array's bounds.)
#pragma once

#include <cstddef>

namespace rubricate::emulation {

void* allocate_device_memory(size_t bytes);  // aligned to 256 bytes, NaN patterns; null if out of memory
void release_device_memory(void* address);

// Device memory is accessible during its lifetime.
class DeviceAccess {
 public:
  DeviceAccess();
  ~DeviceAccess();
  DeviceAccess(const DeviceAccess&) = delete;
  DeviceAccess& operator=(const DeviceAccess&) = delete;
};

}  // namespace rubricate::emulation
