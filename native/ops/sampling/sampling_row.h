// What sampling one row (sampling.cc) and many (sample_rows.cc) share.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "base/random.h"
#include "ops/sampling/sampling.h"
#include "ops/sampling/sampling_kernels.h"

namespace rubricate {

// sample_token without checks of the options; -1 where it throws ERR_NOT_FINITE.
int32_t sample_finite(const float* logits, int64_t vocabulary, const SamplingOptions& options,
                      const TokenCounts* counts, uint64_t position);

inline FixedProb least_weight(const SamplingOptions& options, int32_t bits) {
  return mass_enough(static_cast<double>(options.min_p), FixedProb{1} << bits);
}

inline double uniform_of(const SamplingOptions& options, uint64_t position) {
  constexpr uint64_t kSamplingStream = 0x73616d706c65;  // "sample": separates it from other uses of the same seed
  return philox_uniform(options.seed, kSamplingStream, position);
}

// Calls visit(change) for each id that logit_bias changes.
template <typename Visit>
void each_bias(const SamplingOptions& options, const Visit& visit) {
  if (options.logit_bias == nullptr) return;
  for (const LogitBias& own : *options.logit_bias) visit(SamplingChange{.id = own.id, .added = own.bias});
}

// Calls visit(change) for each id that the penalties change. ERR_ARGUMENT for one that the vocabulary lacks.
template <typename Visit>
void each_penalty(int64_t vocabulary, const SamplingOptions& options, const TokenCounts* counts, const Visit& visit) {
  if (!options.counts() || counts == nullptr) return;
  counts->each([&](int32_t id, int32_t generated) {
    require(id >= 0 && id < vocabulary, "ERR_ARGUMENT", "Expected ids from 0 to ", vocabulary - 1,
            " for history but received ", id);
    SamplingChange change{.id = id, .repetition = options.repetition_penalty};
    if (generated > 0)
      change.subtracted = options.frequency_penalty * static_cast<float>(generated) + options.presence_penalty;
    visit(change);
  });
}

}  // namespace rubricate
