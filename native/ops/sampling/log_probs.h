// Log-probabilities of tokens, in nats: of given logits, and of given targets without keeping logits.
//
//   log p[v] = -((max z + log sum_v e^(z[v] - max z)) - z[v])
//
// in double, rounded to fp32, from the sum of exponentials that cross_entropy forms: so the log-probability that sampling
// tells of a token, the one that score_rows tells of it, and minus its loss in training have the same bits if its logits
// do. On the CPU they do; on a device with RUBRICATE_MATMUL=own.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/tape.h"
#include "autograd/weight.h"

namespace rubricate {

constexpr int32_t kMostTopLogProbs = 20;  // OpenAI's limit

struct TokenLogProb {
  int32_t id = 0;
  float log_prob = 0.0f;
};

struct LogProbs {
  float chosen = 0.0f;
  std::vector<TokenLogProb> top;  // the likeliest first; of equal logits the lower id; none if `chosen` is NaN
};

struct LogProbRequest {
  int32_t row = 0, chosen = 0;  // a row of the logits, a token
  int32_t top = 0;              // 0 to kMostTopLogProbs: how many of the likeliest, at most the vocabulary
};

// logits: [rows, vocabulary] fp32, on the tape's device. In a row with NaN or +inf, or of only -inf, all that is told is
// NaN. A device downloads a number for each row, and the whole row if `top` is not 0. Errors: ERR_SHAPE, ERR_DTYPE,
// ERR_FOREIGN, ERR_ARGUMENT.
std::vector<LogProbs> log_probs_of(Tape& tape, const Tensor& logits, const std::vector<LogProbRequest>& requests);

// The log-probability of each target (`chosen`) behind its row of x, and of the likeliest tokens there. x: [rows, d] f32
// or bf16, the model's last hidden states; head: [vocabulary, d]; requests: rows ascending, each once. Logits are formed
// in chunks of rows and dropped. Errors: those of head_cross_entropy and log_probs_of.
std::vector<LogProbs> score_rows(Tape& tape, const Tensor& x, const Weight& head,
                                 const std::vector<LogProbRequest>& requests);

}  // namespace rubricate
