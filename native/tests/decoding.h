// Sequences that are decoded step by step, without an engine's schedule: for tests and workbenches.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/error.h"
#include "serve/stepper.h"

namespace rubricate::testing {

class Decoding {
 public:
  // stream: of the model's device; null on the CPU. pages: of keys and values, for all sequences.
  explicit Decoding(const std::shared_ptr<const Model>& model, const std::shared_ptr<Stream>& stream = nullptr,
                    int64_t pages = 64)
      : stepper(model, std::make_shared<Arena>(stream), int64_t{1} << 20, {}),
        pool_(model->architecture(), model->compute(), std::make_shared<Arena>(stream), pages) {}

  void add(std::vector<int32_t> prompt, std::shared_ptr<const AdapterVersion> version = nullptr,
           const SamplingOptions& sampling = {}) {
    auto sequence = std::make_unique<Sequence>(Sequence{{}, std::move(prompt), std::move(version), sampling, {}});
    const auto& tokens = sequence->tokens;
    if (sampling.counts()) sequence->counts.add_prompt(tokens.data(), static_cast<int64_t>(tokens.size()));
    sequences_.push_back(std::move(sequence));
  }

  // Computes the tokens that are not computed, in forwards of at most `chunk` rows, and appends to each sequence its
  // next token. Returns these.
  std::vector<int32_t> step(int64_t chunk = 256) {
    std::vector<int32_t> next(sequences_.size(), -1);
    for (;;) {
      std::vector<StepPart> parts;
      std::vector<size_t> places;
      int64_t room = chunk;
      for (size_t i = 0; i < sequences_.size(); ++i) {
        Sequence& one = *sequences_[i];
        const auto length = static_cast<int64_t>(one.tokens.size());
        const int64_t rows = std::min(room, length - one.keys.length);
        if (rows == 0 || next[i] >= 0) continue;
        require(pool_.reserve(one.keys, one.keys.length + rows), "ERR_INTERNAL", "Too few pages");
        parts.push_back({&one.keys, &one.tokens, rows, one.version, &one.sampling, &one.counts});
        places.push_back(i);
        room -= rows;
      }
      if (parts.empty()) return next;
      const std::vector<StepResult> results = stepper.run(pool_, parts);
      for (size_t i = 0; i < results.size(); ++i) {
        if (!results[i].sampled) continue;
        Sequence& one = *sequences_[places[i]];
        require(results[i].token.id >= 0, "ERR_NOT_FINITE", "Logits are not finite");
        next[places[i]] = results[i].token.id;
        one.tokens.push_back(results[i].token.id);
        if (one.sampling.counts()) one.counts.add_generated(results[i].token.id);
      }
    }
  }

  Stepper stepper;

 private:
  struct Sequence {
    KvSequence keys;
    std::vector<int32_t> tokens;
    std::shared_ptr<const AdapterVersion> version;
    SamplingOptions sampling;
    TokenCounts counts;
  };
  KvPool pool_;
  std::vector<std::unique_ptr<Sequence>> sequences_;
};

}  // namespace rubricate::testing
