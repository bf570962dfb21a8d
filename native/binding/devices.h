// CUDA devices from JavaScript.
#pragma once

#include <napi.h>

#include "device/stream.h"

namespace rubricate::binding {

// readCudaDevices(): NativeJob of lib/binding/devices.ts's NativeCudaDevices. On a thread: opening a driver is slow.
Napi::Value read_cuda_devices(const Napi::CallbackInfo& info);

// setDeviceMemoryLimit(device, bytes): NativeJob of undefined.
Napi::Value set_device_memory_limit(const Napi::CallbackInfo& info);

// lib/binding/devices.ts's MatrixProduct[]: what the device has multiplied, and by whom.
Napi::Array products_value(Napi::Env env, const Device& device);

// lib/binding/model.ts's ModelMemory, its device.
Napi::Object memory_value(Napi::Env env, const DeviceMemory& memory);

}  // namespace rubricate::binding
