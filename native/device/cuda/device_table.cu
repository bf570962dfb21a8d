// The plug-in's two functions: a table of calls for memory, streams, events and device info, and kernels by name.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "device/cuda/driver.h"
#include "device/cuda/launch.h"

struct RubricateEvent {
  cudaEvent_t handle;
  int32_t device;
};

namespace rubricate::cuda {
namespace {

#define RUBRICATE_RETURN_FAILURE(call)                                          \
  do {                                                                          \
    const cudaError_t error_ = (call);                                          \
    if (error_ != cudaSuccess) return ::rubricate::cuda::failed(error_, #call); \
  } while (false)

int32_t count(int32_t* devices) {
  *devices = 0;
  int runtime = 0;
  RUBRICATE_RETURN_FAILURE(cudaRuntimeGetVersion(&runtime));
  const int driver = driver_version();
  if (driver == 0) return failed(RUBRICATE_NO_DRIVER, "No NVIDIA driver was found (libcuda.so.1 cannot be opened)");
  if (driver / 1000 < runtime / 1000) {  // within a major version CUDA runs with older drivers, too
    char sentence[160];
    std::snprintf(sentence, sizeof sentence,
                  "The NVIDIA driver supports CUDA %d.%d, but CUDA %d.%d is needed: install a newer driver",
                  driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    return failed(RUBRICATE_DRIVER_TOO_OLD, sentence);
  }
  int number = 0;
  RUBRICATE_RETURN_FAILURE(cudaGetDeviceCount(&number));
  *devices = number;
  return RUBRICATE_OK;
}

int32_t attribute(int32_t device, cudaDeviceAttr which, int* value) {
  RUBRICATE_RETURN_FAILURE(cudaDeviceGetAttribute(value, which, device));
  return RUBRICATE_OK;
}

// RUBRICATE_MULTIPROCESSORS, for tests: some kernels are chosen by the size of the device. 0: not set.
int32_t claimed_multiprocessors() {
  const char* const text = std::getenv("RUBRICATE_MULTIPROCESSORS");
  const long value = text != nullptr ? std::strtol(text, nullptr, 10) : 0;
  return value > 0 && value <= 1024 ? static_cast<int32_t>(value) : 0;
}

int32_t info(int32_t device, RubricateDeviceInfo* info) {
  *info = {};
  cudaDeviceProp properties;
  RUBRICATE_RETURN_FAILURE(cudaGetDeviceProperties(&properties, device));
  std::snprintf(info->name, sizeof info->name, "%s", properties.name);
  int major = 0, minor = 0, multiprocessors = 0, shared = 0;
  if (const int32_t status = attribute(device, cudaDevAttrComputeCapabilityMajor, &major)) return status;
  if (const int32_t status = attribute(device, cudaDevAttrComputeCapabilityMinor, &minor)) return status;
  if (const int32_t status = attribute(device, cudaDevAttrMultiProcessorCount, &multiprocessors)) return status;
  if (const int32_t status = attribute(device, cudaDevAttrMaxSharedMemoryPerBlockOptin, &shared)) return status;
  info->capability = 10 * major + minor;
  const int32_t claimed = claimed_multiprocessors();
  info->multiprocessors = claimed > 0 ? claimed : multiprocessors;
  info->block_shared_bytes = shared;
  size_t free = 0, total = 0;
  RUBRICATE_RETURN_FAILURE(cudaSetDevice(device));
  RUBRICATE_RETURN_FAILURE(cudaMemGetInfo(&free, &total));
  info->free_bytes = static_cast<int64_t>(free);
  info->memory_bytes = static_cast<int64_t>(total);
  int runtime = 0;
  RUBRICATE_RETURN_FAILURE(cudaRuntimeGetVersion(&runtime));
  info->runtime_version = runtime;
  info->driver_version = driver_version();
#if defined(RUBRICATE_EMULATED)
  info->emulated = 1;
  info->waiting_launches = static_cast<int32_t>(rubricate::emulation::waiting_launches());
#endif
  return RUBRICATE_OK;
}

int32_t allocate(int32_t device, int64_t bytes, void** address) {
  *address = nullptr;
  RUBRICATE_RETURN_FAILURE(cudaSetDevice(device));
  RUBRICATE_RETURN_FAILURE(cudaMalloc(address, static_cast<size_t>(bytes)));
  return RUBRICATE_OK;
}
int32_t release(int32_t device, void* address) {
  RUBRICATE_RETURN_FAILURE(cudaSetDevice(device));
  RUBRICATE_RETURN_FAILURE(cudaFree(address));
  return RUBRICATE_OK;
}
int32_t allocate_pinned(int32_t device, int64_t bytes, void** address) {
  *address = nullptr;
  RUBRICATE_RETURN_FAILURE(cudaSetDevice(device));
  RUBRICATE_RETURN_FAILURE(cudaHostAlloc(address, static_cast<size_t>(bytes), cudaHostAllocDefault));
  return RUBRICATE_OK;
}
int32_t release_pinned(int32_t device, void* address) {
  RUBRICATE_RETURN_FAILURE(cudaSetDevice(device));
  RUBRICATE_RETURN_FAILURE(cudaFreeHost(address));
  return RUBRICATE_OK;
}

int32_t create_stream(int32_t device, RubricateStream** stream) {
  *stream = nullptr;
  RubricateDeviceInfo about;
  if (const int32_t status = info(device, &about)) return status;  // makes the device current
  auto created = std::unique_ptr<RubricateStream>(new (std::nothrow) RubricateStream{
      nullptr, device, about.capability, about.multiprocessors, about.block_shared_bytes, nullptr});
  if (!created) return failed(RUBRICATE_OUT_OF_MEMORY, "No memory for a stream");
  RUBRICATE_RETURN_FAILURE(cudaEventCreateWithFlags(&created->done, cudaEventBlockingSync));
  const cudaError_t status = cudaStreamCreateWithFlags(&created->handle, cudaStreamNonBlocking);
  if (status != cudaSuccess) cudaEventDestroy(created->done);
  RUBRICATE_RETURN_FAILURE(status);
  *stream = created.release();
  return RUBRICATE_OK;
}
int32_t destroy_stream(RubricateStream* stream) {
  const std::unique_ptr<RubricateStream> owned(stream);
  RUBRICATE_RETURN_FAILURE(cudaSetDevice(stream->device));
  RUBRICATE_RETURN_FAILURE(cudaEventDestroy(stream->done));
  RUBRICATE_RETURN_FAILURE(cudaStreamDestroy(stream->handle));
  return RUBRICATE_OK;
}

// A decoded token is there within milliseconds: to sleep and be woken would add to its time. A training step takes
// longer, and would keep a processor busy that other threads need.
int32_t synchronize(RubricateStream* stream) {
  constexpr auto kAwake = std::chrono::milliseconds(10);
  RUBRICATE_RETURN_FAILURE(cudaSetDevice(stream->device));
  const auto begin = std::chrono::steady_clock::now();
  do {
    const cudaError_t status = cudaStreamQuery(stream->handle);
    if (status == cudaSuccess) return RUBRICATE_OK;
    if (status != cudaErrorNotReady) return failed(status, "cudaStreamQuery");
  } while (std::chrono::steady_clock::now() - begin < kAwake);
  RUBRICATE_RETURN_FAILURE(cudaEventRecord(stream->done, stream->handle));
  RUBRICATE_RETURN_FAILURE(cudaEventSynchronize(stream->done));
  return RUBRICATE_OK;
}

int32_t copy(RubricateStream* stream, void* to, const void* from, int64_t bytes, cudaMemcpyKind kind) {
  RUBRICATE_RETURN_FAILURE(cudaSetDevice(stream->device));
  RUBRICATE_RETURN_FAILURE(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), kind, stream->handle));
  return RUBRICATE_OK;
}
int32_t copy_to_device(RubricateStream* stream, void* to, const void* from, int64_t bytes) {
  return copy(stream, to, from, bytes, cudaMemcpyHostToDevice);
}
int32_t copy_to_host(RubricateStream* stream, void* to, const void* from, int64_t bytes) {
  return copy(stream, to, from, bytes, cudaMemcpyDeviceToHost);
}
int32_t copy_on_device(RubricateStream* stream, void* to, const void* from, int64_t bytes) {
  return copy(stream, to, from, bytes, cudaMemcpyDeviceToDevice);
}
int32_t fill(RubricateStream* stream, void* to, int32_t byte, int64_t bytes) {
  RUBRICATE_RETURN_FAILURE(cudaSetDevice(stream->device));
  RUBRICATE_RETURN_FAILURE(cudaMemsetAsync(to, byte, static_cast<size_t>(bytes), stream->handle));
  return RUBRICATE_OK;
}

int32_t create_event(int32_t device, RubricateEvent** event) {
  *event = nullptr;
  auto created = std::unique_ptr<RubricateEvent>(new (std::nothrow) RubricateEvent{nullptr, device});
  if (!created) return failed(RUBRICATE_OUT_OF_MEMORY, "No memory for an event");
  RUBRICATE_RETURN_FAILURE(cudaSetDevice(device));
  RUBRICATE_RETURN_FAILURE(cudaEventCreateWithFlags(&created->handle, cudaEventBlockingSync));
  *event = created.release();
  return RUBRICATE_OK;
}
int32_t destroy_event(RubricateEvent* event) {
  const std::unique_ptr<RubricateEvent> owned(event);
  RUBRICATE_RETURN_FAILURE(cudaSetDevice(event->device));
  RUBRICATE_RETURN_FAILURE(cudaEventDestroy(event->handle));
  return RUBRICATE_OK;
}
int32_t record(RubricateStream* stream, RubricateEvent* event) {
  RUBRICATE_RETURN_FAILURE(cudaSetDevice(stream->device));
  RUBRICATE_RETURN_FAILURE(cudaEventRecord(event->handle, stream->handle));
  return RUBRICATE_OK;
}
int32_t wait(RubricateStream* stream, RubricateEvent* event) {
  RUBRICATE_RETURN_FAILURE(cudaSetDevice(stream->device));
  RUBRICATE_RETURN_FAILURE(cudaStreamWaitEvent(stream->handle, event->handle, 0));
  return RUBRICATE_OK;
}
int32_t synchronize_event(RubricateEvent* event) {
  RUBRICATE_RETURN_FAILURE(cudaSetDevice(event->device));
  RUBRICATE_RETURN_FAILURE(cudaEventSynchronize(event->handle));
  return RUBRICATE_OK;
}
int32_t elapsed(RubricateEvent* from, RubricateEvent* to, double* milliseconds) {
  float time = 0.0f;
  RUBRICATE_RETURN_FAILURE(cudaEventElapsedTime(&time, from->handle, to->handle));
  *milliseconds = static_cast<double>(time);
  return RUBRICATE_OK;
}

const RubricateDeviceTable table = {
    RUBRICATE_DEVICE_ABI,
    0,
    RUBRICATE_VERSION,
    message,
    count,
    info,
    allocate,
    release,
    allocate_pinned,
    release_pinned,
    create_stream,
    destroy_stream,
    synchronize,
    copy_to_device,
    copy_to_host,
    copy_on_device,
    fill,
    create_event,
    destroy_event,
    record,
    wait,
    synchronize_event,
    elapsed,
};

const Registration* registrations = nullptr;  // set before any constructor runs

}  // namespace

Registration::Registration(const char* kernel_name, RubricateKernel kernel_run)
    : name(kernel_name), run(kernel_run), next(registrations) {
  registrations = this;
}

}  // namespace rubricate::cuda

extern "C" {

__attribute__((visibility("default"))) const RubricateDeviceTable* rubricate_device(int32_t abi) {
  return abi == RUBRICATE_DEVICE_ABI ? &rubricate::cuda::table : nullptr;
}

__attribute__((visibility("default"))) RubricateKernel rubricate_kernel(const char* name) {
  for (const auto* kernel = rubricate::cuda::registrations; kernel != nullptr; kernel = kernel->next)
    if (std::strcmp(kernel->name, name) == 0) return kernel->run;
  return nullptr;
}

}  // extern "C"
