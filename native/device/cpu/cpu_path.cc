#include "device/cpu/cpu_path.h"

#include <atomic>
#include <cstdlib>

#include "base/error.h"

namespace rubricate {
namespace {

bool supported([[maybe_unused]] CpuPath path) {
#if defined(RUBRICATE_EMULATE_AVX512)
  return true;  // a test build: device/cpu/simd/emulate_avx512.h
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
  }
  return false;
#else
  return path == CpuPath::portable;
#endif
}

CpuPath choose() {
  const char* name = std::getenv("RUBRICATE_CPU_PATH");
  if (name == nullptr || *name == '\0') return supported_cpu_paths().back();
  for (int i = 0; i <= static_cast<int>(CpuPath::avx512_bf16); ++i) {
    const auto path = static_cast<CpuPath>(i);
    if (std::string(name) != cpu_path_name(path)) continue;
    require(supported(path), "ERR_DEVICE",
            "Expected a path that this processor supports for RUBRICATE_CPU_PATH but received ", name);
    return path;
  }
  fail("ERR_DEVICE", "Expected portable, avx2, avx512 or avx512_bf16 for RUBRICATE_CPU_PATH but received ", name);
}

std::atomic<int>& current() {
  static std::atomic<int> path{static_cast<int>(choose())};
  return path;
}

}  // namespace

CpuPath cpu_path() { return static_cast<CpuPath>(current().load(std::memory_order_relaxed)); }

const char* cpu_path_name(CpuPath path) {
  static constexpr const char* names[] = {"portable", "avx2", "avx512", "avx512_bf16"};
  return names[static_cast<int>(path)];
}

std::vector<CpuPath> supported_cpu_paths() {
  std::vector<CpuPath> paths;
  for (int i = 0; i <= static_cast<int>(CpuPath::avx512_bf16); ++i)
    if (supported(static_cast<CpuPath>(i))) paths.push_back(static_cast<CpuPath>(i));
  return paths;
}

void force_cpu_path(CpuPath path) {
  require(supported(path), "ERR_DEVICE", "This processor does not support the path ", cpu_path_name(path));
  current().store(static_cast<int>(path), std::memory_order_relaxed);
}

}  // namespace rubricate
