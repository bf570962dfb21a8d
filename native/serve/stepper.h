// One step of an engine: a forward over rows of many sequences, and the next token of those whose tokens are all
// computed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "adapter/resident_batch.h"
#include "model/kv_pool.h"
#include "model/model.h"
#include "ops/sampling/sampling.h"

namespace rubricate {

// The rows of one sequence: its next tokens that are not computed.
struct StepPart {
  KvSequence* keys = nullptr;                    // reserved up to the last of the rows
  const std::vector<int32_t>* tokens = nullptr;  // all of the sequence's
  int64_t rows = 0;
  std::shared_ptr<const AdapterVersion> version;  // null: the base
  const SamplingOptions* sampling = nullptr;
  const TokenCounts* counts = nullptr;  // of the tokens
  int32_t top_log_probs = -1;           // as in SampleRequest
  // The tokens whose log-probabilities are wanted: each comes from the row of the token before it. None if not less.
  int64_t score_begin = 0, score_end = 0;
  int64_t scored() const { return std::max<int64_t>(0, score_end - score_begin); }

  // Whether these are its last tokens: then the next one is sampled.
  bool samples() const { return keys->length + rows == static_cast<int64_t>(tokens->size()); }
};

struct StepResult {
  bool sampled = false;
  SampledToken token;            // id -1: the part's logits are not numbers
  std::vector<LogProbs> scores;  // of score_begin to score_end
};

class Stepper {
 public:
  // arena: of the model's device, for steps alone. version_bytes: of copies of versions there. check_weights: called
  // after the last read of the weights; may be empty.
  Stepper(std::shared_ptr<const Model> model, std::shared_ptr<Arena> arena, int64_t version_bytes,
          std::function<void()> check_weights);

  // Whether a version fits the model: throws ERR_ARGUMENT, ERR_SHAPE. From any thread.
  void check(const AdapterVersion& version) const { batch_.check(version); }
  // Called when an op of a step begins, for profiles (bench/native/decode.cc).
  void observe(Tape::Observer observer) { observer_ = std::move(observer); }
  // The result of each part; adds the rows to the sequences' lengths. On an error nothing has changed: ERR_OUT_OF_MEMORY, ERR_DEVICE_LOST, what check_weights throws.
  std::vector<StepResult> run(KvPool& pool, const std::vector<StepPart>& parts);

  int64_t versions() const { return slots_; }  // in the last step
  int64_t version_bytes() const { return versions_.bytes(); }

 private:
  std::vector<StepResult> forward(KvPool& pool, const std::vector<StepPart>& parts);
  void score(Tape& tape, const Tensor& hidden, const std::vector<StepPart>& parts, const std::vector<int32_t>& starts,
             std::vector<StepResult>& results) const;

  const std::shared_ptr<const Model> model_;
  const std::shared_ptr<Arena> arena_;
  const std::function<void()> check_weights_;
  Tape::Observer observer_;
  DeviceVersions versions_;
  ResidentBatch batch_;
  int64_t slots_ = 0;
};

}  // namespace rubricate
