// The instruction set of the CPU kernels: the best that this processor supports, or the one in the environment variable
// RUBRICATE_CPU_PATH (portable, avx2, avx512, avx512_bf16). Fixed for the process's lifetime, except in tests.
#pragma once

#include <string>
#include <vector>

namespace rubricate {

enum class CpuPath { portable = 0, avx2 = 1, avx512 = 2, avx512_bf16 = 3 };

CpuPath cpu_path();  // throws ERR_DEVICE if RUBRICATE_CPU_PATH is unknown or unsupported
const char* cpu_path_name(CpuPath path);
std::vector<CpuPath> supported_cpu_paths();
// For tests of kernels: switches to another supported path. Not safe while other threads compute.
void force_cpu_path(CpuPath path);

}  // namespace rubricate
