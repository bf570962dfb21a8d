#include "device/cuda/driver.h"

#include <dlfcn.h>

namespace rubricate::cuda {

int32_t driver_version() {
  static const int32_t version = [] {
    void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return 0;
    using Function = int (*)(int*);
    const auto function = reinterpret_cast<Function>(dlsym(library, "cuDriverGetVersion"));
    int version = 0;
    return function != nullptr && function(&version) == 0 ? version : 0;
  }();
  return version;
}

}  // namespace rubricate::cuda
