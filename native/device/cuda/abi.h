// The boundary between the addon and a device plug-in (librubricate_cuda.so, or librubricate_cuda_emulated.so): two C
// functions, plain structs, and nothing that either side's C++ library would have to agree on.
//
//   rubricate_device(abi)    a table of memory, stream, event and info calls, or null where the plug-in has another abi
//   rubricate_kernel(name)   a kernel, or null; the name carries its argument struct's version: "swiglu_forward/1"
//
// So a new op changes no table: it adds a name. A kernel whose argument struct changes gets the next number.
#pragma once

#include <stdint.h>

extern "C" {

// Raise it with any change to what is below. Kernels' argument structs have their versions in their names.
#define RUBRICATE_DEVICE_ABI 1

// What every call returns. Anything but OK leaves a sentence in RubricateDeviceTable::message.
enum RubricateStatus : int32_t {
  RUBRICATE_OK = 0,
  RUBRICATE_INVALID = 1,         // an argument, or a launch's sizes
  RUBRICATE_OUT_OF_MEMORY = 2,   // nothing has changed: free some and call again
  RUBRICATE_NO_DRIVER = 3,       // no NVIDIA driver on this machine
  RUBRICATE_DRIVER_TOO_OLD = 4,  // the driver supports an older CUDA than the plug-in was built with
  RUBRICATE_NO_DEVICE = 5,       // a driver, but no device that it or the plug-in can use
  RUBRICATE_DEVICE_LOST = 6,     // an error that the device does not recover from in this process
};

typedef struct RubricateStream RubricateStream;  // work on one device, in order
typedef struct RubricateEvent RubricateEvent;    // a place in a stream

struct RubricateDeviceInfo {
  char name[256];
  int32_t capability;  // 10 * major + minor: 80, 90, 120
  int32_t multiprocessors;
  int64_t memory_bytes;        // all of the device's memory
  int64_t free_bytes;          // of it, free now
  int64_t block_shared_bytes;  // the most shared memory that a block can ask for
  int32_t driver_version;      // CUDA that the driver supports: 1000 * major + 10 * minor
  int32_t runtime_version;     // CUDA that the plug-in was built with
  int32_t emulated;            // 1: a processor runs the kernels
  int32_t reserved;
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

  // Device memory, aligned to 256 bytes or more, not initialised. Both calls may wait for the device.
  int32_t (*allocate)(int32_t device, int64_t bytes, void** address);
  int32_t (*release)(int32_t device, void* address);
  // Memory of the host that copies can reach without a detour.
  int32_t (*allocate_pinned)(int32_t device, int64_t bytes, void** address);
  int32_t (*release_pinned)(int32_t device, void* address);

  int32_t (*create_stream)(int32_t device, RubricateStream** stream);
  int32_t (*destroy_stream)(RubricateStream* stream);
  int32_t (*synchronize)(RubricateStream* stream);  // waits until everything in the stream is done
  // Put into the stream, in order with kernels. Host memory must stay as it is until the stream has passed the copy.
  int32_t (*copy_to_device)(RubricateStream* stream, void* to, const void* from, int64_t bytes);
  int32_t (*copy_to_host)(RubricateStream* stream, void* to, const void* from, int64_t bytes);
  int32_t (*copy_on_device)(RubricateStream* stream, void* to, const void* from, int64_t bytes);
  int32_t (*fill)(RubricateStream* stream, void* to, int32_t byte, int64_t bytes);

  int32_t (*create_event)(int32_t device, RubricateEvent** event);
  int32_t (*destroy_event)(RubricateEvent* event);
  int32_t (*record)(RubricateStream* stream, RubricateEvent* event);
  int32_t (*wait)(RubricateStream* stream, RubricateEvent* event);  // the stream goes on when the event has happened
  int32_t (*synchronize_event)(RubricateEvent* event);              // the calling thread does
  int32_t (*elapsed)(RubricateEvent* from, RubricateEvent* to, double* milliseconds);
};

// `args`: the kernel's argument struct, read before the call returns; its pointers are the device's, unless the struct
// says otherwise. Puts work into the stream and does not wait for it.
typedef int32_t (*RubricateKernel)(const void* args, RubricateStream* stream);

typedef const struct RubricateDeviceTable* (*RubricateDeviceFunction)(int32_t abi);
typedef RubricateKernel (*RubricateKernelFunction)(const char* name);

}  // extern "C"
