#include "device/cuda/loader.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "base/error.h"
#include "base/mutex.h"

namespace rubricate {
namespace {

constexpr char kFileName[] = "librubricate_cuda.so";

// The folder of the file that this code was loaded from: the addon's.
std::string own_folder() {
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(&cuda_library_path), &info) == 0 || info.dli_fname == nullptr) return ".";
  const std::string file = info.dli_fname;
  const size_t slash = file.rfind('/');
  return slash == std::string::npos ? "." : file.substr(0, slash);
}

struct CloseLibrary {
  void operator()(void* library) const { dlclose(library); }
};

std::unique_ptr<CudaPlugin> open() {
  auto plugin = std::make_unique<CudaPlugin>();
  plugin->path = cuda_library_path();
  require(access(plugin->path.c_str(), F_OK) == 0, "ERR_DEVICE", "The CUDA plug-in ", plugin->path,
          " is missing; npm run build:cuda builds it");
  std::unique_ptr<void, CloseLibrary> library(dlopen(plugin->path.c_str(), RTLD_NOW | RTLD_LOCAL));
  if (!library) {
    const char* const reason = dlerror();
    fail("ERR_DEVICE", "The CUDA plug-in ", plugin->path, " cannot be opened: ", reason ? reason : "unknown reason");
  }
  const auto device = reinterpret_cast<RubricateDeviceFunction>(dlsym(library.get(), "rubricate_device"));
  plugin->kernel = reinterpret_cast<RubricateKernelFunction>(dlsym(library.get(), "rubricate_kernel"));
  require(device != nullptr && plugin->kernel != nullptr, "ERR_DEVICE", "The CUDA plug-in ", plugin->path,
          " cannot be used: it has no rubricate_device and rubricate_kernel");
  plugin->table = device(RUBRICATE_DEVICE_ABI);
  require(plugin->table != nullptr && plugin->table->abi == RUBRICATE_DEVICE_ABI, "ERR_DEVICE", "The CUDA plug-in ",
          plugin->path, " belongs to another version of rubricate: this one, ", RUBRICATE_VERSION, ", needs interface ",
          RUBRICATE_DEVICE_ABI, "; rebuild it with npm run build:cuda");
  require(std::strcmp(plugin->table->version, RUBRICATE_VERSION) == 0, "ERR_DEVICE", "The CUDA plug-in ", plugin->path,
          " belongs to rubricate ", plugin->table->version, ", not to this one, ", RUBRICATE_VERSION,
          "; rebuild it with npm run build:cuda");
  library.release();  // stays open: its code may run until the process ends
  return plugin;
}

Mutex lock;
std::unique_ptr<CudaPlugin>& opened() {
  static auto& plugin = *new std::unique_ptr<CudaPlugin>();  // never destroyed: streams may outlive static objects
  return plugin;
}

}  // namespace

std::string cuda_library_path() {
  const char* const chosen = std::getenv("RUBRICATE_CUDA_LIBRARY");
  return chosen != nullptr && *chosen != '\0' ? chosen : own_folder() + "/" + kFileName;
}

const CudaPlugin& cuda_plugin() {
  const std::lock_guard guard(lock);
  if (!opened()) opened() = open();
  return *opened();
}

RubricateKernel cuda_kernel(const char* name) {
  static auto& known = *new std::unordered_map<std::string, RubricateKernel>();
  const CudaPlugin& plugin = cuda_plugin();
  const std::lock_guard guard(lock);
  const auto found = known.find(name);
  if (found != known.end()) return found->second;
  const RubricateKernel kernel = plugin.kernel(name);
  require(kernel != nullptr, "ERR_INTERNAL", "The CUDA plug-in ", plugin.path, " has no kernel ", name);
  known.emplace(name, kernel);
  return kernel;
}

}  // namespace rubricate
