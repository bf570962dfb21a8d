#include "binding/devices.h"

#include <cstdio>
#include <vector>

#include "binding/arguments.h"
#include "binding/environment.h"
#include "binding/jobs.h"
#include "device/cuda/loader.h"
#include "device/stream.h"
#include "ops/linear/matmul_plan.h"

namespace rubricate::binding {
namespace {

struct Devices {
  std::string library;
  std::vector<RubricateDeviceInfo> devices;
  std::vector<DeviceMemory> memory;
  std::vector<CublasltArgs::Found> cublaslt;
};

// Reports a lost device as such.
CublasltArgs::Found cublaslt_of(Device& device) {
  try {
    Stream stream(device);
    return MatmulPlans::of(device).cublaslt(stream);
  } catch (const Error& error) {
    CublasltArgs::Found none;
    std::snprintf(none.why, sizeof none.why, "%s", error.what());
    return none;
  }
}

Devices read() {
  Devices found;
  matmul_setting();  // throws if the variable's value is not allowed
  const int32_t count = Device::count();
  found.library = cuda_plugin().path;
  for (int32_t i = 0; i < count; ++i) {
    Device& device = Device::cuda(i);
    found.devices.push_back(device.info());
    found.memory.push_back(device.memory());
    found.cublaslt.push_back(cublaslt_of(device));
  }
  return found;
}

std::string version_text(int32_t version) { return concat(version / 1000, ".", version % 1000 / 10); }

Napi::Value devices_value(Napi::Env env, const Devices& found) {
  Napi::Array devices = Napi::Array::New(env, found.devices.size());
  for (uint32_t i = 0; i < found.devices.size(); ++i) {
    const RubricateDeviceInfo& info = found.devices[i];
    Napi::Object device = Napi::Object::New(env);
    device.Set("name", static_cast<const char*>(info.name));
    device.Set("capability", concat(info.capability / 10, ".", info.capability % 10));
    device.Set("multiprocessors", info.multiprocessors);
    device.Set("memoryBytes", static_cast<double>(found.memory[i].total));
    device.Set("freeBytes", static_cast<double>(found.memory[i].free));
    device.Set("emulated", info.emulated != 0);
    const CublasltArgs::Found& cublaslt = found.cublaslt[i];
    device.Set("matmul", matmul_text(matmul_setting(), cublaslt.version));
    if (cublaslt.version == 0) device.Set("noCublaslt", static_cast<const char*>(cublaslt.why));
    devices.Set(i, device);
  }
  Napi::Object value = Napi::Object::New(env);
  value.Set("library", found.library);
  value.Set("driver", version_text(found.devices.front().driver_version));
  value.Set("runtime", version_text(found.devices.front().runtime_version));
  value.Set("devices", devices);
  return value;
}

// "NT" etc.: whether A and B are transposed, as linear.h names it.
std::string layout_text(const MatmulClass& product) {
  return concat(product.a_transposed ? "T" : "N", product.b_transposed ? "T" : "N");
}

}  // namespace

Napi::Array matmul_records_value(Napi::Env env, const Device& device) {
  const std::vector<MatmulRecord> records = MatmulPlans::of(device).records();
  Napi::Array matmuls = Napi::Array::New(env, records.size());
  for (uint32_t i = 0; i < records.size(); ++i) {
    const auto& [product, count, why] = records[i];
    Napi::Object value = Napi::Object::New(env);
    value.Set("m", static_cast<double>(product.m));
    value.Set("n", static_cast<double>(product.n));
    value.Set("k", static_cast<double>(product.k));
    value.Set("layout", layout_text(product));
    value.Set("a", dtype_name(product.a));
    value.Set("b", dtype_name(product.b));
    value.Set("c", dtype_name(product.c));
    value.Set("accumulates", product.accumulate);
    value.Set("provider", product.provider == MatmulProvider::cublaslt ? "cublaslt" : "own");
    value.Set("count", static_cast<double>(count));
    if (product.refused) value.Set("refused", why);
    matmuls.Set(i, value);
  }
  return matmuls;
}

Napi::Object memory_value(Napi::Env env, const DeviceMemory& memory) {
  Napi::Object value = Napi::Object::New(env);
  value.Set("used", static_cast<double>(memory.used));
  value.Set("cached", static_cast<double>(memory.cached));
  value.Set("peak", static_cast<double>(memory.peak));
  value.Set("limit", static_cast<double>(memory.limit));
  value.Set("total", static_cast<double>(memory.total));
  value.Set("free", static_cast<double>(memory.free));
  return value;
}

Napi::Value read_cuda_devices(const Napi::CallbackInfo& info) {
  return job_or_rejection(info.Env(), [&] {
    Environment& environment = Environment::of(info.Env());
    JobSpec spec;
    spec.queue = environment.files_queue();
    spec.work = [](const std::atomic<bool>&, Progress&) -> Settle {
      auto found = std::make_shared<const Devices>(read());
      return [found](Napi::Env env) { return devices_value(env, *found); };
    };
    return Napi::Value(environment.jobs().start(std::move(spec)));
  });
}

Napi::Value set_device_memory_limit(const Napi::CallbackInfo& info) {
  return job_or_rejection(info.Env(), [&] {
    const auto index = static_cast<int32_t>(integer_argument(info[0], "device", 0, INT32_MAX));
    const int64_t bytes = integer_argument(info[1], "bytes", 0, int64_t{1} << 53);
    Environment& environment = Environment::of(info.Env());
    JobSpec spec;
    spec.queue = environment.files_queue();
    spec.work = [index, bytes](const std::atomic<bool>&, Progress&) -> Settle {
      Device::cuda(index).set_limit(bytes);
      return [](Napi::Env env) { return env.Undefined(); };
    };
    return Napi::Value(environment.jobs().start(std::move(spec)));
  });
}

}  // namespace rubricate::binding
