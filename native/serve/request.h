// What an engine is asked, and what it answers.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "adapter/adapter_version.h"
#include "ops/sampling/sampling.h"

namespace rubricate {

struct EngineRequest {
  std::vector<int32_t> prompt;                    // at least one token
  std::shared_ptr<const AdapterVersion> version;  // null: the base
  SamplingOptions sampling;
  int32_t max_new = 1;            // tokens to generate; 0: the prompt is only scored
  std::vector<int32_t> stop_ids;  // end the answer; not part of it
  uint32_t tenant = 0;            // whose share of the model it counts towards
  float weight = 1.0f;            // of the tenant's share, above 0
  uint64_t domain = 0;            // only requests of one domain share pages
  int64_t submitted_ns = 0;       // on the engine's clock; 0: not told
  int64_t deadline_ns = 0;        // on the engine's clock; 0: none
  // -1: no log-probabilities of generated tokens; else each one's, and of so many of the likeliest. Scored tokens have
  // theirs always, and with more than 0 as many of the likeliest.
  int32_t top_log_probs = -1;
  int32_t score_from = -1;  // -1: none; else log-probabilities of the prompt's tokens from here on, at least 1
};

// Rows of `kColumns` numbers: request, kind, value, position. A request's rows are in order; the last one is its end.
struct EngineOutputs {
  static constexpr int64_t kColumns = 4;
  enum class Kind : int32_t {
    // value: tokens of the prompt that were found in the cache; position: milliseconds since it was submitted. Once,
    // before the first token
    started = 0,
    token = 1,  // value: the token; position: how many were generated before it
    // After its token, if wanted. value: how many tops; position: index into numbers of the token's log-probability,
    // and for each top its id and log-probability
    log_probs = 2,
    // Of the prompt's tokens that are to be scored, in their order, before any token. value: how many; position: index
    // into numbers of their log-probabilities
    scores = 3,
    // After their scores, if wanted. value: how many tops of each token; position: index into numbers of the id and
    // log-probability of each top, token by token
    score_tops = 4,
    // The ends. position: how many tokens were generated
    stopped = 5,  // value: the stop id
    length = 6,   // max_new tokens were generated
    context = 7,  // the context is full
    failed = 8,   // value: index into errors
  };
  struct Failure {
    std::string code, message;
  };

  std::vector<int32_t> rows;  // [count, kColumns]
  std::vector<float> numbers;
  std::vector<Failure> errors;

  bool empty() const { return rows.empty(); }
  int64_t count() const { return static_cast<int64_t>(rows.size()) / kColumns; }
  void append(const EngineOutputs& later);
  void add(int32_t request, Kind kind, int32_t value, int32_t position) {
    rows.insert(rows.end(), {request, static_cast<int32_t>(kind), value, position});
  }
};

inline void EngineOutputs::append(const EngineOutputs& later) {
  const auto known = static_cast<int32_t>(errors.size()), listed = static_cast<int32_t>(numbers.size());
  for (size_t row = 0; row < later.rows.size(); row += kColumns) {
    const int32_t* const cell = later.rows.data() + row;
    const auto kind = static_cast<Kind>(cell[1]);
    const bool numbered = kind == Kind::log_probs || kind == Kind::scores || kind == Kind::score_tops;
    add(cell[0], kind, kind == Kind::failed ? cell[2] + known : cell[2], numbered ? cell[3] + listed : cell[3]);
  }
  numbers.insert(numbers.end(), later.numbers.begin(), later.numbers.end());
  errors.insert(errors.end(), later.errors.begin(), later.errors.end());
}

}  // namespace rubricate
