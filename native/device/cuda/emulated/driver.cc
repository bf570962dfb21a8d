#include "device/cuda/driver.h"

#include "device/cuda/emulated/host_api.h"

namespace rubricate::cuda {

int32_t driver_version() {
  int version = 0;
  cudaDriverGetVersion(&version);
  return version;
}

}  // namespace rubricate::cuda
