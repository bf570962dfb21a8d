#include <algorithm>
#include <chrono>
#include <vector>

#include "base/error.h"
#include "device/cpu/peak.h"
#include "device/cpu/thread_pool.h"

#define RUBRICATE_KERNELS_USE_BF16
#define RUBRICATE_KERNELS "device/cpu/peak_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {
namespace {

// So many that one is likely undisturbed, even on a machine that does other work.
constexpr int kPasses = 60, kReadPasses = 7;
constexpr int64_t kSteps = 1000000;

double multiply_loop(int64_t steps, bool pairs, float* out) { RUBRICATE_DISPATCH(register_peak, steps, pairs, out); }
float read_loop(const float* p, int64_t count) { RUBRICATE_DISPATCH(read_memory, p, count); }

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double multiply_rate(bool pairs) {
  const int threads = ThreadPool::instance().size();
  std::vector<double> done(static_cast<size_t>(threads));
  double best = 0.0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const double start = now();
    ThreadPool::instance().parallel_for(threads, [&](int64_t t) {
      float out[32] = {};
      done[static_cast<size_t>(t)] = multiply_loop(kSteps, pairs, out);
    });
    double sum = 0.0;
    for (const double x : done) sum += x;
    best = std::max(best, sum / (now() - start));
  }
  return best;
}

double read_rate() {
  constexpr int64_t chunks = 64, part = (int64_t{64} << 20) / chunks;
  const std::vector<float> memory(chunks * part, 1.0f);
  std::vector<float> sums(chunks);
  double best = 0.0;
  for (int pass = 0; pass < kReadPasses; ++pass) {
    const double start = now();
    ThreadPool::instance().parallel_for(
        chunks, [&](int64_t i) { sums[static_cast<size_t>(i)] = read_loop(memory.data() + i * part, part); });
    best = std::max(best, static_cast<double>(memory.size()) * sizeof(float) / (now() - start));
  }
  for (const float sum : sums)  // also so that the compiler keeps the loop
    require(sum == static_cast<float>(part), "ERR_INTERNAL", "Expected a sum of ", part, " but received ", sum);
  return best;
}

}  // namespace

PeakRates measure_peak_rates() {
  PeakRates rates;
  rates.f32 = multiply_rate(false);
  rates.bf16 = std::max(rates.f32, multiply_rate(true));  // a path without pairs runs the same loop twice
  rates.read = read_rate();
  ThreadPool::end_turn();
  return rates;
}

}  // namespace rubricate
