// The instruction set of the CPU kernels: the fastest that this processor supports, or the one in the environment variable
// RUBRICATE_CPU_PATH (portable, avx2, avx512, avx512_bf16, amx_bf16, neon). Fixed for the process's lifetime, except in tests.
#pragma once

#include <string>
#include <vector>

#include "base/named.h"

namespace rubricate {

enum class CpuPath { portable = 0, avx2 = 1, avx512 = 2, avx512_bf16 = 3, amx_bf16 = 4, neon = 5 };
// From the simplest on; on x64 each needs what those before it need. amx_bf16 has matmuls of its own and all other kernels
// of avx512_bf16. neon is for AArch64.
inline constexpr std::array<Named<CpuPath>, 6> kCpuPathNames{{{CpuPath::portable, "portable"},
                                                              {CpuPath::avx2, "avx2"},
                                                              {CpuPath::avx512, "avx512"},
                                                              {CpuPath::avx512_bf16, "avx512_bf16"},
                                                              {CpuPath::amx_bf16, "amx_bf16"},
                                                              {CpuPath::neon, "neon"}}};
constexpr const char* cpu_path_name(CpuPath path) { return name_of(kCpuPathNames, path); }

CpuPath cpu_path();  // throws ERR_DEVICE if RUBRICATE_CPU_PATH is unknown or unsupported
std::vector<CpuPath> supported_cpu_paths();
// For tests of kernels: switches to another supported path. Not safe while other threads compute.
void force_cpu_path(CpuPath path);

}  // namespace rubricate
