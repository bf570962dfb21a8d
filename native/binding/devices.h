// CUDA devices from JavaScript.
#pragma once

#include <napi.h>

#include "device/stream.h"

namespace rubricate::binding {

// readCudaDevices(): returns a NativeJob of NativeCudaDevices (lib/binding/devices.ts). A job, because opening a driver
// is slow.
Napi::Value read_cuda_devices(const Napi::CallbackInfo& info);

// setDeviceMemoryLimit(device, bytes): returns a NativeJob of undefined.
Napi::Value set_device_memory_limit(const Napi::CallbackInfo& info);

// MatmulRecord[] of lib/binding/devices.ts: the matmuls that ran on the device, and the library that ran each.
Napi::Array matmul_records_value(Napi::Env env, const Device& device);

// The field `device` of ModelMemory in lib/binding/model.ts.
Napi::Object memory_value(Napi::Env env, const DeviceMemory& memory);

}  // namespace rubricate::binding
