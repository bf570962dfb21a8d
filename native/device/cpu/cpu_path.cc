#include "device/cpu/cpu_path.h"

#include <atomic>
#include <cstdlib>

#include "base/error.h"
#include "device/cpu/simd/tiles.h"

namespace rubricate {
namespace {

bool supported([[maybe_unused]] CpuPath path) {
#if defined(RUBRICATE_EMULATE_AVX512)
  return path != CpuPath::neon;  // a test build: device/cpu/simd/emulate_avx512.h
#elif defined(__x86_64__)
  switch (path) {
    case CpuPath::portable:
      return true;
    case CpuPath::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    case CpuPath::avx512:
      return supported(CpuPath::avx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    case CpuPath::avx512_bf16:
      return supported(CpuPath::avx512) && __builtin_cpu_supports("avx512bf16");
    case CpuPath::amx_bf16:
      return supported(CpuPath::avx512_bf16) && tiles::available();
    case CpuPath::neon:
      return false;
  }
  return false;
#elif defined(__aarch64__)
  return path == CpuPath::portable || path == CpuPath::neon;
#else
  return path == CpuPath::portable;
#endif
}

// The fastest path, by the kind of processor. Intel's multiply pairs of bf16 at half the rate of fp32: on Emerald Rapids a
// training step in bf16 took 2.9 s with avx512_bf16, 2.1 s with avx512 and 0.7 s with amx_bf16. AMD's have twice the rate.
CpuPath fastest() {
  const CpuPath last = supported_cpu_paths().back();
#if defined(__x86_64__)
  if (last == CpuPath::avx512_bf16 && __builtin_cpu_is("intel")) return CpuPath::avx512;
#endif
  return last;
}

CpuPath choose() {
  const char* name = std::getenv("RUBRICATE_CPU_PATH");
  if (name == nullptr || *name == '\0') return fastest();
  const auto path = value_of(kCpuPathNames, name);
  require(path.has_value(), "ERR_DEVICE",
          "Expected portable, avx2, avx512, avx512_bf16, amx_bf16 or neon for RUBRICATE_CPU_PATH but received ", name);
  require(supported(*path), "ERR_DEVICE",
          "Expected a path that this processor supports for RUBRICATE_CPU_PATH but received ", name);
  return *path;
}

std::atomic<CpuPath>& current() {
  static std::atomic<CpuPath> path{choose()};
  return path;
}

}  // namespace

CpuPath cpu_path() { return current().load(std::memory_order_relaxed); }

std::vector<CpuPath> supported_cpu_paths() {
  std::vector<CpuPath> paths;
  for (const auto& [path, name] : kCpuPathNames)
    if (supported(path)) paths.push_back(path);
  return paths;
}

void force_cpu_path(CpuPath path) {
  require(supported(path), "ERR_DEVICE", "This processor does not support the path ", cpu_path_name(path));
  current().store(path, std::memory_order_relaxed);
}

}  // namespace rubricate
