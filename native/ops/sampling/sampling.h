// Choosing the next token from logits, in transformers' order of processors: repetition penalty, temperature, top-k,
// top-p, min-p; then one draw by the counter-based generator, so that a seed gives the same text anywhere.
#pragma once

#include <cstdint>
#include <vector>

namespace rubricate {

struct SamplingOptions {
  float temperature = 0.0f;         // 0: the largest logit (ties: the lowest id)
  int32_t top_k = 0;                // 0: off
  float top_p = 1.0f;               // 1: off
  float min_p = 0.0f;               // 0: off
  float repetition_penalty = 1.0f;  // 1: off; acts on every id in `history` (Keskar et al. 2019)
  uint64_t seed = 0;
};

// logits: [vocabulary] fp32. history: prompt and generated ids. position: counter of the draw. Returns the id.
// Errors: ERR_ARGUMENT for options out of range, ERR_NOT_FINITE when no logit is a number.
int32_t sample_token(const float* logits, int64_t vocabulary, const SamplingOptions& options,
                     const std::vector<int32_t>& history, uint64_t position);

}  // namespace rubricate
