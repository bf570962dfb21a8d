#include "runtime/share.h"

#include <algorithm>

#include "base/error.h"

namespace rubricate {

void Share::set(double training) {
  require(training > 0.0 && training < 1.0, "ERR_ARGUMENT",
          "Expected a number above 0 and below 1 for trainingShare but received ", training);
  per_training_ = (1.0 - training) / training;
}

void Share::trained(int64_t ns) {
  const double more = static_cast<double>(ns) * per_training_;
  owed_ = static_cast<int64_t>(std::min(static_cast<double>(owed_) + more, static_cast<double>(kMost)));
}

void Share::served(int64_t ns) { owed_ = std::max(owed_ - ns, -kMost); }

}  // namespace rubricate
