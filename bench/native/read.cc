// Bandwidth of a plain read of memory, for comparison with decoding: the median of seven passes over 256 MiB, on one
// thread and on two. Prints a line of JSON, in GB/s.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include "base/error.h"
#include "device/cpu/thread_pool.h"

#define RUBRICATE_KERNELS_USE_BF16
#define RUBRICATE_KERNELS "device/cpu/peak_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {
namespace {

float read_loop(const float* p, int64_t count) { RUBRICATE_DISPATCH(read_memory, p, count); }

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double bandwidth(const std::vector<float>& memory, int threads) {
  constexpr int64_t chunks = 64;
  ThreadPool::instance().resize(threads);
  const int64_t part = static_cast<int64_t>(memory.size()) / chunks;
  std::vector<float> sums(chunks);
  std::vector<double> rates;
  for (int pass = 0; pass < 7; ++pass) {
    const double start = now();
    ThreadPool::instance().parallel_for(
        chunks, [&](int64_t i) { sums[static_cast<size_t>(i)] = read_loop(memory.data() + i * part, part); });
    rates.push_back(static_cast<double>(memory.size()) * 4 / (now() - start) / 1e9);
  }
  for (const float sum : sums) require(sum == static_cast<float>(part), "ERR_INTERNAL", "A wrong sum: ", sum);
  std::nth_element(rates.begin(), rates.begin() + 3, rates.end());
  return rates[3];
}

}  // namespace
}  // namespace rubricate

int main() {
  const std::vector<float> memory(64 << 20, 1.0f);
  const double one = rubricate::bandwidth(memory, 1), two = rubricate::bandwidth(memory, 2);
  std::printf("{\"threads1\": %.2f, \"threads2\": %.2f}\n", one, two);
}
