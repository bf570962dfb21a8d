// Files from JavaScript.
#pragma once

#include <napi.h>

namespace rubricate::binding {

// readSafetensors(path), readSafetensorsNames(path): each returns a NativeJob.
Napi::Value read_safetensors(const Napi::CallbackInfo& info);
Napi::Value read_safetensors_names(const Napi::CallbackInfo& info);

}  // namespace rubricate::binding
