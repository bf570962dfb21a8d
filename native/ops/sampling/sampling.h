// Samples the next token from logits. In this order, which is vLLM's (and transformers' for those that it has): logit
// bias, repetition penalty, frequency and presence penalty, temperature, top-k, top-p, min-p; then one draw by the
// counter-based generator. The repetition penalty scales what the model says of a token, so it comes before what is
// subtracted: otherwise a penalty that makes a logit negative would turn its division into a multiplication. A seed gives
// the same text on every machine, and equal logits give the same token on every device.
//
//   weight      floor(e^((z - max) / temperature) 2^b), an integer, so that sums are exact in any order;
//               b = 62 - bits of the vocabulary's size, 45 for 128 Ki: a token with less than 2^-b of the largest weight
//               is never drawn. The exponential uses only fp32 operations (sampling_kernels.h)
//   bias        z + bias
//   repetition  z < 0 ? z penalty : z / penalty, for every id of the prompt and of what was generated, once each
//   frequency,  z - (frequency times + presence), for every id that was generated, `times` being how often; tokens of
//   presence    the prompt do not count (OpenAI's definition)
//   top-k       keeps z >= the k-th largest (so all ties with it)
//   top-p       keeps the most likely tokens until they hold top_p of the weight, including the one that crosses it;
//               of equal logits the lower id counts as more likely (transformers leaves that to its sort)
//   min-p       keeps weight >= min_p times the largest
//   draw        the lowest id whose cumulative weight exceeds u times their sum, u uniform in [0, 1) by seed and position
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "autograd/tape.h"
#include "ops/sampling/log_probs.h"
#include "ops/sampling/token_counts.h"

namespace rubricate {

struct LogitBias {
  int32_t id = 0;
  float bias = 0.0f;  // -100 to 100
};

struct SamplingOptions {
  float temperature = 0.0f;         // 0: the largest logit (ties: the lowest id)
  int32_t top_k = 0;                // 0: off
  float top_p = 1.0f;               // 1: off
  float min_p = 0.0f;               // 0: off
  float repetition_penalty = 1.0f;  // 1: off (Keskar et al. 2019)
  uint64_t seed = 0;
  float frequency_penalty = 0.0f, presence_penalty = 0.0f;             // -2 to 2; 0: off
  std::shared_ptr<const std::vector<LogitBias>> logit_bias = nullptr;  // ids ascending, each once; null: none

  // Whether what was fed and generated matters.
  bool counts() const { return repetition_penalty != 1.0f || frequency_penalty != 0.0f || presence_penalty != 0.0f; }
};

// Errors: ERR_ARGUMENT for options out of range, or for an id of logit_bias that the vocabulary lacks.
void check_sampling(int64_t vocabulary, const SamplingOptions& options);

// logits: [vocabulary] fp32; -inf excludes a token. position: counter of the draw. Returns the id. Errors: those of
// check_sampling, also for an id of `counts` if there is a penalty; ERR_NOT_FINITE if a logit is NaN or +inf, before or
// after the penalties, or all are -inf.
int32_t sample_token(const float* logits, int64_t vocabulary, const SamplingOptions& options, const TokenCounts& counts,
                     uint64_t position);

struct SampleRequest {
  SamplingOptions options = {};
  const TokenCounts* counts = nullptr;  // needed only if options.counts()
  uint64_t position = 0;
  int32_t top_log_probs = -1;  // -1: no log-probabilities; 0 to kMostTopLogProbs: the chosen token's and so many more
};

struct SampledToken {
  int32_t id = -1;     // -1: the row cannot be sampled (ERR_NOT_FINITE of sample_token); other rows are not affected
  LogProbs log_probs;  // of the row's logits as they are, before bias and penalties; only if wanted
};

// The next token of every row, rows in parallel on the CPU. logits: [rows, vocabulary] fp32, on the tape's device. A
// device downloads only the ids, and the rows whose top log-probabilities are wanted; it overwrites logits with
// penalised ones. Throws what sample_token throws except ERR_NOT_FINITE.
std::vector<SampledToken> sample_rows(Tape& tape, const Tensor& logits, const std::vector<SampleRequest>& requests);

// The probabilities that sample_token draws from, [vocabulary]; with a temperature of 0 all on one id. Same errors.
std::vector<double> sampling_distribution(const float* logits, int64_t vocabulary, const SamplingOptions& options,
                                          const TokenCounts& counts);

}  // namespace rubricate
