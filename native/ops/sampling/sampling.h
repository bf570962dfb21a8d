// Samples the next token from logits, with transformers' order of processors: repetition penalty, temperature, top-k,
// top-p, min-p; then one draw by the counter-based generator. A seed gives the same text on every machine, and equal
// logits give the same token on every device.
//
//   weight    floor(e^((z - max) / temperature) 2^b), an integer, so that sums are exact in any order;
//             b = 62 - bits of the vocabulary's size, 45 for 128 Ki: a token with less than 2^-b of the largest weight
//             is never drawn. The exponential uses only fp32 operations (sampling_kernels.h)
//   penalty   z < 0 ? z penalty : z / penalty, for every id in `history`, once each
//   top-k     keeps z >= the k-th largest (so all ties with it)
//   top-p     keeps the most likely tokens until they hold top_p of the weight, including the one that crosses it;
//             of equal logits the lower id counts as more likely (transformers leaves that to its sort)
//   min-p     keeps weight >= min_p times the largest
//   draw      the lowest id whose cumulative weight exceeds u times their sum, u uniform in [0, 1) by seed and position
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/tape.h"

namespace rubricate {

struct SamplingOptions {
  float temperature = 0.0f;         // 0: the largest logit (ties: the lowest id)
  int32_t top_k = 0;                // 0: off
  float top_p = 1.0f;               // 1: off
  float min_p = 0.0f;               // 0: off
  float repetition_penalty = 1.0f;  // 1: off; applies to every id in `history` (Keskar et al. 2019)
  uint64_t seed = 0;
};

// logits: [vocabulary] fp32; -inf excludes a token. history: prompt and generated ids. position: counter of the draw.
// Returns the id. Errors: ERR_ARGUMENT for options out of range, or for an id of `history` if there is a penalty;
// ERR_NOT_FINITE if a logit is NaN or +inf, or all are -inf.
int32_t sample_token(const float* logits, int64_t vocabulary, const SamplingOptions& options,
                     const std::vector<int32_t>& history, uint64_t position);

struct SampleRequest {
  SamplingOptions options;
  std::vector<int32_t> history;  // needed only if there is a penalty
  uint64_t position = 0;
};

// The next token of every row, with sample_token's errors. logits: [rows, vocabulary] fp32, on the tape's device. A
// device downloads only the ids, and overwrites logits with penalised ones.
std::vector<int32_t> sample_tokens(Tape& tape, const Tensor& logits, const std::vector<SampleRequest>& requests);

// The probabilities that sample_token draws from, [vocabulary]; with a temperature of 0 all on one id. Same errors.
std::vector<double> sampling_distribution(const float* logits, int64_t vocabulary, const SamplingOptions& options,
                                          const std::vector<int32_t>& history);

}  // namespace rubricate
