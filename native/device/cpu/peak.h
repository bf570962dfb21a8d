// Rates that this machine reaches at most, on the threads of the process and with its path of kernels: benchmarks compare
// theirs with them. Each is the best of many short passes.
#pragma once

namespace rubricate {

struct PeakRates {
  // Operations a second of a loop of multiply-adds on registers, two for each.
  double f32 = 0.0;
  // The same with the instructions that multiply pairs of bf16, if the path has them; else f32.
  double bf16 = 0.0;
  // Bytes a second of a plain read of memory that no cache holds.
  double read = 0.0;
};

// Throws ERR_OUT_OF_MEMORY: it allocates 256 MiB.
PeakRates measure_peak_rates();

}  // namespace rubricate
