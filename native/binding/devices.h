// CUDA devices from JavaScript.
#pragma once

#include <napi.h>

#include "device/stream.h"

namespace rubricate::binding {

// readCudaDevices(): NativeJob of lib/native.ts's NativeCudaDevices. On a thread: opening a driver takes a while.
Napi::Value read_cuda_devices(const Napi::CallbackInfo& info);

// setDeviceMemoryLimit(device, bytes): NativeJob of undefined.
Napi::Value set_device_memory_limit(const Napi::CallbackInfo& info);

// lib/native.ts's NativeProduct[]: what the device has multiplied, and by whom.
Napi::Array products_value(Napi::Env env, const Device& device);

// lib/native.ts's NativeDeviceMemory.
Napi::Object memory_value(Napi::Env env, const DeviceMemory& memory);

}  // namespace rubricate::binding
