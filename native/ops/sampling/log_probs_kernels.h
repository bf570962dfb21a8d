// The CPU kernel of log_probs.h.
#pragma once

#include <cstdint>

namespace rubricate {

// log_sums[i] = log of the sum of e^z over row rows[i] of the logits, as cross_entropy forms it.
struct LogSumArgs {
  int64_t count = 0, vocabulary = 0;
  const float* logits = nullptr;  // [*, vocabulary]
  const int64_t* rows = nullptr;  // [count]
  double* log_sums = nullptr;     // [count]
};

void log_sums_cpu(const LogSumArgs& args);

}  // namespace rubricate
