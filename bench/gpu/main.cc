// The program of bench/gpu/run.sh; README.md says what it measures. RUBRICATE_CUDA_LIBRARY names the plug-in.
//
//   bench_gpu machine|rows|products|training|decoding|profile|turns
//             [--rehearse [--layers N]] [--only TEXT] [--out FILE] [--handover FOLDER]
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "base/error.h"
#include "gpu/results.h"
#include "gpu/sections.h"
#include "ops/linear/matmul_plan.h"

namespace rubricate::bench {
namespace {

void tell_machine(const Run& run) {
  const RubricateDeviceInfo& info = run.device.info();
  std::printf("%s: compute capability %d.%d, %d multiprocessors, %.1f GiB, driver for CUDA %d.%d, built with %d.%d\n",
              run.device.name().c_str(), info.capability / 10, info.capability % 10, info.multiprocessors,
              static_cast<double>(info.memory_bytes) / (1 << 30), info.driver_version / 1000,
              info.driver_version % 1000 / 10, info.runtime_version / 1000, info.runtime_version % 1000 / 10);
  const CublasltArgs::Found cublaslt = MatmulPlans::of(run.device).cublaslt(*run.stream);
  const std::string matmul = matmul_text(matmul_setting(), cublaslt.version);
  std::printf("matmul: %s%s%s\n", matmul.c_str(), cublaslt.version > 0 ? "" : ": ", cublaslt.why);
  Results(run.out).add({{"gpu", std::string(info.name)},
                        {"capability", static_cast<int64_t>(info.capability)},
                        {"multiprocessors", static_cast<int64_t>(info.multiprocessors)},
                        {"memoryBytes", info.memory_bytes},
                        {"driverCuda", static_cast<int64_t>(info.driver_version)},
                        {"runtimeCuda", static_cast<int64_t>(info.runtime_version)},
                        {"emulated", run.device.emulated()},
                        {"matmul", matmul},
                        {"noCublaslt", std::string(cublaslt.why)}});
}

const std::vector<std::pair<std::string, void (*)(const Run&)>> kSections = {
    {"machine", tell_machine},   {"rows", time_row_kernels},  {"products", time_products},
    {"training", time_training}, {"decoding", time_decoding}, {"profile", profile_training},
    {"turns", take_turns}};

int usage() {
  std::fprintf(
      stderr,
      "usage: bench_gpu machine|rows|products|training|decoding|profile|turns [--rehearse [--layers N]] [--only TEXT] "
      "[--out FILE] [--handover FOLDER]\n");
  return 2;
}

int run_section(int argc, char** argv) {
  std::string only, out, handover = ".", layers = "2";
  bool rehearse = false;
  for (int i = 2; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--rehearse") {
      rehearse = true;
      continue;
    }
    std::string* const value = option == "--only"       ? &only
                               : option == "--out"      ? &out
                               : option == "--handover" ? &handover
                               : option == "--layers"   ? &layers
                                                        : nullptr;
    if (value == nullptr || ++i == argc) return usage();
    *value = argv[i];
  }
  for (const auto& [name, section] : kSections) {
    if (argc < 2 || name != argv[1]) continue;
    Device& device = Device::cuda(0);
    section({device, std::make_shared<Stream>(device), rehearse, rehearse ? 3 : 21, only, out, handover,
             std::max<int64_t>(1, std::atoll(layers.c_str()))});
    return 0;
  }
  return usage();
}

}  // namespace
}  // namespace rubricate::bench

int main(int argc, char** argv) {
  try {
    return rubricate::bench::run_section(argc, argv);
  } catch (const rubricate::Error& error) {
    std::fprintf(stderr, "%s: %s\n", error.code(), error.what());
    return 1;
  }
}
