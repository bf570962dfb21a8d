#include "device/cpu/peak.h"

#include <cmath>

#include "device/cpu/thread_pool.h"
#include "doctest/doctest.h"

// How high a rate is depends on the machine; the loops themselves check what they read.
TEST_CASE("peak rates are positive on pools of any size") {
  const int before = rubricate::ThreadPool::instance().size();
  for (const int threads : {1, 3}) {
    rubricate::ThreadPool::instance().resize(threads);
    const rubricate::PeakRates rates = rubricate::measure_peak_rates();
    for (const double rate : {rates.f32, rates.bf16, rates.read}) {
      CHECK(std::isfinite(rate));
      CHECK(rate > 0.0);
    }
  }
  rubricate::ThreadPool::instance().resize(before);
}
