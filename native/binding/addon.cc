// The addon's exports (NativeBinding of lib/binding/addon.ts). Several environments of one process may load it.
#include <napi.h>

#include "base/limits.h"
#include "binding/adapter.h"
#include "binding/devices.h"
#include "binding/engine.h"
#include "binding/files.h"
#include "binding/model.h"
#include "binding/ops.h"
#include "binding/tensor.h"
#include "binding/version.h"
#include "device/cpu/cpu_path.h"
#include "device/cpu/peak.h"
#include "device/cpu/thread_pool.h"
#include "device/cpu/thread_priority.h"

namespace rubricate::binding {
namespace {

Napi::Value set_errors(const Napi::CallbackInfo& info) {
  const Napi::Function error_class = function_argument(info[0], "errorClass");
  const Napi::Function invalid = function_argument(info[1], "invalid");
  Environment& environment = Environment::of(info.Env());
  environment.error_class = Napi::Persistent(error_class);
  environment.invalid = Napi::Persistent(invalid);
  return info.Env().Undefined();
}

Napi::Value cpu(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::vector<CpuPath> paths = supported_cpu_paths();
  Napi::Array supported = Napi::Array::New(env, paths.size());
  for (uint32_t i = 0; i < paths.size(); ++i) supported.Set(i, cpu_path_name(paths[i]));
  Napi::Object cpu = Napi::Object::New(env);
  cpu.Set("path", cpu_path_name(cpu_path()));
  cpu.Set("supported", supported);
  cpu.Set("threads", ThreadPool::instance().size());
  cpu.Set("splitRegions", static_cast<double>(ThreadPool::instance().split_regions()));
  return cpu;
}

Napi::Value peak_rates(const Napi::CallbackInfo& info) {
  const PeakRates rates = measure_peak_rates();
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("float32", rates.f32);
  result.Set("bfloat16", rates.bf16);
  result.Set("read", rates.read);
  return result;
}

Napi::Value set_threads(const Napi::CallbackInfo& info) {
  ThreadPool::instance().resize(static_cast<int>(integer_argument(info[0], "threads", 1, limits::kThreads)));
  return info.Env().Undefined();
}

Napi::Value lower_priority(const Napi::CallbackInfo& info) {
  lower_thread_priority();
  return info.Env().Undefined();
}

void define_function(Napi::Env env, Napi::Object exports, const char* name,
                     Napi::Value (*function)(const Napi::CallbackInfo&)) {
  exports.Set(name, Napi::Function::New(env, function, name));
}

template <typename HandleClass>
Napi::Function define_class(Napi::Env env, Environment& environment) {
  const Napi::Function constructor = HandleClass::define(env);
  environment.*HandleClass::kConstructor = Napi::Persistent(constructor);
  return constructor;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  Environment& environment = Environment::create(env);
  exports.Set("version", RUBRICATE_VERSION);
  define_function(env, exports, "setErrors", &guarded_function<&set_errors>);
  define_function(env, exports, "cpu", &guarded_function<&cpu>);
  define_function(env, exports, "peakRates", &guarded_function<&peak_rates>);
  define_function(env, exports, "setThreads", &guarded_function<&set_threads>);
  define_function(env, exports, "lowerThreadPriority", &guarded_function<&lower_priority>);
  define_function(env, exports, "loadModel", &load_model);
  define_function(env, exports, "readCudaDevices", &read_cuda_devices);
  define_function(env, exports, "setDeviceMemoryLimit", &set_device_memory_limit);
  define_function(env, exports, "readSafetensors", &read_safetensors);
  define_function(env, exports, "readSafetensorsNames", &read_safetensors_names);
  define_class<ModelHandle>(env, environment);
  define_class<EngineHandle>(env, environment);
  define_class<VersionHandle>(env, environment);
  define_class<ParametersHandle>(env, environment);
  exports.Set("Adapter", define_class<AdapterHandle>(env, environment));
  exports.Set("Optimizer", define_class<OptimizerHandle>(env, environment));
  exports.Set("Tensor", define_class<TensorHandle>(env, environment));
  exports.Set("Tape", define_class<TapeHandle>(env, environment));
  exports.Set("ops", make_ops(env));
  return exports;
}

Napi::Object guarded_init(Napi::Env env, Napi::Object exports) {
  return guarded(env, [&] { return init(env, exports); });
}

}  // namespace
}  // namespace rubricate::binding

using rubricate::binding::guarded_init;
NODE_API_MODULE(rubricate, guarded_init)
