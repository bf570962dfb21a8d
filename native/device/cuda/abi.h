// The boundary between the addon and a device plug-in (librubricate_cuda.so, or librubricate_cuda_emulated.so): two C
// functions and plain structs, so that the two sides may use different C++ libraries.
//
//   rubricate_device(abi)    a table of memory, stream, event and info calls, or null if the plug-in has another abi
//   rubricate_kernel(name)   a kernel, or null; the name carries its argument struct's version: "swiglu_forward/1"
//
// So a new op only adds a name and changes no table. A kernel whose argument struct changes gets the next number.
#pragma once

#include <stdint.h>

extern "C" {

// Increment it with any change below. Kernels' argument structs have their versions in the kernels' names.
#define RUBRICATE_DEVICE_ABI 1

// Returned by every call. Unless it is OK, RubricateDeviceTable::message has a sentence.
enum RubricateStatus : int32_t {
  RUBRICATE_OK = 0,
  RUBRICATE_INVALID = 1,         // an argument, or a launch's sizes
  RUBRICATE_OUT_OF_MEMORY = 2,   // nothing has changed: free memory and call again
  RUBRICATE_NO_DRIVER = 3,       // no NVIDIA driver on this machine
  RUBRICATE_DRIVER_TOO_OLD = 4,  // the driver does not support the plug-in's CUDA version
  RUBRICATE_NO_DEVICE = 5,       // a driver, but no usable device
  RUBRICATE_DEVICE_LOST = 6,     // the process cannot use the device any more
};

typedef struct RubricateStream RubricateStream;  // a queue of work on one device
typedef struct RubricateEvent RubricateEvent;    // a position in a stream

struct RubricateDeviceInfo {
  char name[256];
  int32_t capability;  // 10 * major + minor: 80, 90, 120
  int32_t multiprocessors;
  int64_t memory_bytes;        // of the device
  int64_t free_bytes;          // free now
  int64_t block_shared_bytes;  // the most shared memory that a block can request
  int32_t driver_version;      // CUDA version of the driver: 1000 * major + 10 * minor
  int32_t runtime_version;     // CUDA version of the plug-in
  int32_t emulated;            // 1: the CPU runs the kernels
  int32_t waiting_launches;    // of an emulated device that lags behind the host; else 0
};

struct RubricateDeviceTable {
  int32_t abi;  // RUBRICATE_DEVICE_ABI
  int32_t reserved;
  const char* version;  // of the package that the plug-in belongs to

  // The sentence for the last call of this thread that did not return RUBRICATE_OK. Valid until this thread's next
  // call.
  const char* (*message)(void);

  int32_t (*count)(int32_t* devices);  // RUBRICATE_NO_DRIVER, RUBRICATE_DRIVER_TOO_OLD, RUBRICATE_NO_DEVICE
  int32_t (*info)(int32_t device, struct RubricateDeviceInfo* info);

  // Device memory, aligned to 256 bytes or more, not initialised. Both calls may synchronize with the device.
  int32_t (*allocate)(int32_t device, int64_t bytes, void** address);
  int32_t (*release)(int32_t device, void* address);
  // Pinned host memory.
  int32_t (*allocate_pinned)(int32_t device, int64_t bytes, void** address);
  int32_t (*release_pinned)(int32_t device, void* address);

  int32_t (*create_stream)(int32_t device, RubricateStream** stream);
  int32_t (*destroy_stream)(RubricateStream* stream);
  int32_t (*synchronize)(RubricateStream* stream);  // waits until everything in the stream is done
  // Enqueued, in order with kernels. Host memory must not change until the copy is done.
  int32_t (*copy_to_device)(RubricateStream* stream, void* to, const void* from, int64_t bytes);
  int32_t (*copy_to_host)(RubricateStream* stream, void* to, const void* from, int64_t bytes);
  int32_t (*copy_on_device)(RubricateStream* stream, void* to, const void* from, int64_t bytes);
  int32_t (*fill)(RubricateStream* stream, void* to, int32_t byte, int64_t bytes);

  // A thread that waits for an event sleeps.
  int32_t (*create_event)(int32_t device, RubricateEvent** event);
  int32_t (*destroy_event)(RubricateEvent* event);
  int32_t (*record)(RubricateStream* stream, RubricateEvent* event);
  int32_t (*wait)(RubricateStream* stream, RubricateEvent* event);  // the stream waits for the event
  int32_t (*synchronize_event)(RubricateEvent* event);              // the calling thread waits for the event
  int32_t (*elapsed)(RubricateEvent* from, RubricateEvent* to, double* milliseconds);
};

// `args`: the kernel's argument struct, read before the call returns; its pointers are device pointers, unless the
// struct says otherwise. Enqueues the kernel and does not wait for it.
typedef int32_t (*RubricateKernel)(const void* args, RubricateStream* stream);

typedef const struct RubricateDeviceTable* (*RubricateDeviceFunction)(int32_t abi);
typedef RubricateKernel (*RubricateKernelFunction)(const char* name);

}  // extern "C"
