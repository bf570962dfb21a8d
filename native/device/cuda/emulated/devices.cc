// Devices and their memory. Environment variables describe the devices:
//
//   RUBRICATE_EMULATION_DEVICES     how many (1)
//   RUBRICATE_EMULATION_CAPABILITY  75, 80, 86, 89, 90, 100, 120 (80)
//   RUBRICATE_EMULATION_MEMORY      bytes of each device (4 GiB)
//   RUBRICATE_EMULATION_DRIVER      the driver's CUDA version, 0 for no driver (13000)
//   RUBRICATE_EMULATION_RUNTIME     the plug-in's (13000)
//   RUBRICATE_EMULATION_LOSE        d: the next launch on device d loses it, for the rest of the process
//   RUBRICATE_EMULATION_FAIL        e: the next launch fails with CUDA's error e, and later ones do not
//   RUBRICATE_EMULATION_LAG         1: work waits in its stream until the host waits for it (streams.cc)
#include "device/cuda/emulated/devices.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "device/cuda/emulated/memory.h"

namespace rubricate::emulation {

int64_t setting(const char* name, int64_t usual) {
  const char* const text = std::getenv(name);
  return text != nullptr ? std::strtoll(text, nullptr, 10) : usual;
}

namespace {

constexpr int kMostDevices = 8;

int device_count() { return static_cast<int>(setting("RUBRICATE_EMULATION_DEVICES", 1)); }
int capability() { return static_cast<int>(setting("RUBRICATE_EMULATION_CAPABILITY", 80)); }
int64_t memory_bytes() { return setting("RUBRICATE_EMULATION_MEMORY", int64_t{4} << 30); }

struct Allocation {
  int device;
  int64_t bytes;
};
std::mutex memory_lock;
std::map<void*, Allocation> allocations;
int64_t used[kMostDevices];
std::atomic<cudaError_t> lost[kMostDevices];

thread_local int current_device = 0;
thread_local cudaError_t last_error = cudaSuccess;

}  // namespace

cudaError_t report(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}
cudaError_t state_of(int device) { return report(lost[device].load()); }
cudaError_t state() { return state_of(current_device); }
int present_device() { return current_device; }

int64_t block_shared_bytes() {
  switch (capability()) {
    case 75:
      return 64 << 10;
    case 80:
      return 163 << 10;
    case 86:
    case 89:
    case 120:
      return 99 << 10;
    default:
      return 227 << 10;
  }
}

cudaError_t begin_launch() {
  if (setting("RUBRICATE_EMULATION_LOSE", -1) == current_device) lost[current_device] = cudaErrorIllegalAddress;
  if (const int64_t error = setting("RUBRICATE_EMULATION_FAIL", 0)) return report(static_cast<cudaError_t>(error));
  return state();
}

}  // namespace rubricate::emulation

using namespace rubricate::emulation;

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInsufficientDriver:
      return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorIllegalAddress:
      return "an illegal memory access was encountered";
    default:
      return "invalid argument";
  }
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = static_cast<int>(setting("RUBRICATE_EMULATION_DRIVER", 13000));
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = static_cast<int>(setting("RUBRICATE_EMULATION_RUNTIME", 13000));
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = std::clamp(device_count(), 0, kMostDevices);
  return *count > 0 ? cudaSuccess : report(cudaErrorNoDevice);
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device < 0 || device >= device_count()) return report(cudaErrorInvalidDevice);
  std::snprintf(properties->name, sizeof properties->name, "Emulated device %d", device);
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (device < 0 || device >= device_count()) return report(cudaErrorInvalidDevice);
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = 4;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = capability() / 10;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = capability() % 10;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(block_shared_bytes());
      return cudaSuccess;
  }
  return report(cudaErrorInvalidValue);
}
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= device_count() || device >= kMostDevices) return report(cudaErrorInvalidDevice);
  current_device = device;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const std::lock_guard lock(memory_lock);
  *total = static_cast<size_t>(memory_bytes());
  *free = static_cast<size_t>(std::max<int64_t>(0, memory_bytes() - used[current_device]));
  return state();
}

cudaError_t cudaMalloc(void** address, size_t bytes) {
  if (state() != cudaSuccess) return state();
  const std::lock_guard lock(memory_lock);
  const auto size = static_cast<int64_t>(bytes);
  if (size > memory_bytes() - used[current_device]) return report(cudaErrorMemoryAllocation);
  void* const memory = allocate_device_memory(bytes);
  if (memory == nullptr) return report(cudaErrorMemoryAllocation);
  allocations[memory] = {current_device, size};
  used[current_device] += size;
  *address = memory;
  return cudaSuccess;
}
cudaError_t cudaFree(void* address) {
  if (address == nullptr) return cudaSuccess;
  run_streams();  // as CUDA, which waits for the device
  const std::lock_guard lock(memory_lock);
  const auto found = allocations.find(address);
  if (found == allocations.end()) return report(cudaErrorInvalidValue);
  used[found->second.device] -= found->second.bytes;
  allocations.erase(found);
  release_device_memory(address);
  return state();
}
cudaError_t cudaHostAlloc(void** address, size_t bytes, unsigned) {
  *address = nullptr;
  return posix_memalign(address, 256, std::max<size_t>(bytes, 1)) == 0 ? state() : report(cudaErrorMemoryAllocation);
}
cudaError_t cudaFreeHost(void* address) {
  run_streams();
  std::free(address);
  return cudaSuccess;
}
