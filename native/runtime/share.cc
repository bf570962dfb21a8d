#include "runtime/share.h"

#include <algorithm>

#include "base/error.h"

namespace rubricate {

void Share::set(double training) {
  require(training > 0.0 && training < 1.0, "ERR_ARGUMENT",
          "Expected a number above 0 and below 1 for trainingShare but received ", training);
  per_training_ = (1.0 - training) / training;
}

// What is owed after training for so long, if there were no bound.
int64_t Share::owed_after(int64_t trained_ns) const {
  constexpr double kBound = 1e18;
  return static_cast<int64_t>(
      std::min(static_cast<double>(owed_) + static_cast<double>(trained_ns) * per_training_, kBound));
}

void Share::trained(int64_t ns) { owed_ = std::min(owed_after(ns), kMost); }

void Share::trained_alone(int64_t ns) { owed_ = std::min(owed_after(ns), kCredit); }

void Share::served(int64_t ns) { owed_ = std::max(owed_ - ns, -kMost); }

void Share::served_alone(int64_t ns) { owed_ = std::max(owed_ - ns, std::min(owed_, kCredit)); }

}  // namespace rubricate
