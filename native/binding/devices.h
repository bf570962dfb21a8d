// CUDA devices from JavaScript.
#pragma once

#include <napi.h>

namespace rubricate::binding {

// readCudaDevices(): NativeJob of lib/native.ts's NativeCudaDevices. On a thread: opening a driver takes a while.
Napi::Value read_cuda_devices(const Napi::CallbackInfo& info);

}  // namespace rubricate::binding
