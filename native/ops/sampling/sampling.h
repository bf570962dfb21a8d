// Choosing the next token from logits, in transformers' order of processors: repetition penalty, temperature, top-k,
// top-p, min-p; then one draw by the counter-based generator, so that a seed gives the same text anywhere: of the same
// logits the very same token on every device.
//
//   weight    floor(e^((z - max) / temperature) 2^b), an integer, so that sums are exact in any order;
//             b = 62 - bits of the vocabulary's size, 45 for 128 Ki: a token less likely by 2^-b is not drawn. The
//             exponential is of fp32 operations (sampling_kernels.h)
//   penalty   z < 0 ? z penalty : z / penalty, for every id in `history`, once each
//   top-k     keeps z >= the k-th largest (so ties with it stay)
//   top-p     keeps the likeliest tokens until they hold top_p of the weight, the one that crosses it included;
//             of equal logits the lower id counts as the likelier (transformers leaves that to its sort)
//   min-p     keeps weight >= min_p times the largest
//   draw      the least id whose cumulative weight exceeds u times their sum, u uniform in [0, 1) from (seed, position)
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
  float repetition_penalty = 1.0f;  // 1: off; acts on every id in `history` (Keskar et al. 2019)
  uint64_t seed = 0;
};

// logits: [vocabulary] fp32; -inf forbids a token. history: prompt and generated ids. position: counter of the draw.
// Returns the id. Errors: ERR_ARGUMENT for options out of range, or an id of `history` where the penalty acts;
// ERR_NOT_FINITE where a logit is NaN or +inf, or all are -inf.
int32_t sample_token(const float* logits, int64_t vocabulary, const SamplingOptions& options,
                     const std::vector<int32_t>& history, uint64_t position);

struct SampleRequest {
  SamplingOptions options;
  std::vector<int32_t> history;  // where the penalty acts; else it need not be there
  uint64_t position = 0;
};

// The next token of every row, with sample_token's errors. logits: [rows, vocabulary] fp32, in the memory that the tape
// computes in; a device brings home the ids alone, and leaves penalised logits behind.
std::vector<int32_t> sample_tokens(Tape& tape, const Tensor& logits, const std::vector<SampleRequest>& requests);

// The probabilities that sample_token draws from, [vocabulary]; for a temperature of 0 all on one id. Same errors.
std::vector<double> sampling_distribution(const float* logits, int64_t vocabulary, const SamplingOptions& options,
                                          const std::vector<int32_t>& history);

}  // namespace rubricate
