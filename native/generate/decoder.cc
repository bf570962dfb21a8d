#include "generate/decoder.h"

#include <algorithm>

#include "ops/cross_entropy/cross_entropy.h"

namespace rubricate {

Decoder::Decoder(std::shared_ptr<const Model> model, std::shared_ptr<Arena> arena)
    : model_(std::move(model)), cache_(model_->architecture(), model_->compute(), arena), copies_(std::move(arena)) {}

int32_t Decoder::add_sequence() {
  const int32_t sequence = cache_.add();
  if (history_.size() <= static_cast<size_t>(sequence)) history_.resize(static_cast<size_t>(sequence) + 1);
  history_[static_cast<size_t>(sequence)].clear();
  return sequence;
}

void Decoder::remove_sequence(int32_t sequence) { cache_.remove(sequence); }

void Decoder::feed(const std::vector<int32_t>& sequences, const Batch& batch, const RedBatch& edits,
                   const JobControl& control, const std::vector<size_t>& finished,
                   const std::vector<DecodeRequest>& requests, std::vector<int32_t>& next) {
  cache_.prepare(sequences, batch);
  Tape tape(control, Tape::Mode::inference);
  const PagedKeys keys = cache_.keys();
  const Var hidden = model_->forward(tape, batch, &edits, false, &keys);
  std::vector<int32_t> rows;
  for (const size_t i : finished) {
    const auto at = std::find(sequences.begin(), sequences.end(), requests[i].sequence) - sequences.begin();
    rows.push_back(batch.starts()[static_cast<size_t>(at) + 1] - 1);
  }
  if (!rows.empty()) {
    const Tensor logits =
        head_logits(tape, hidden.value(), model_->head(), static_cast<int64_t>(rows.size()), rows.data());
    std::vector<SampleRequest> samples;
    std::vector<TokenCounts> counts(finished.size());
    for (const size_t i : finished) {
      const DecodeRequest& request = requests[i];
      const auto& fed = history_[static_cast<size_t>(request.sequence)];
      TokenCounts& own = counts[samples.size()];
      samples.push_back({request.sampling, &own, fed.size() + request.tokens.size()});
      if (request.sampling.repetition_penalty == 1.0f) continue;
      own.add_prompt(fed.data(), static_cast<int64_t>(fed.size()));
      own.add_prompt(request.tokens.data(), static_cast<int64_t>(request.tokens.size()));
    }
    const std::vector<int32_t> ids = sample_tokens(tape, logits, samples);
    for (size_t r = 0; r < finished.size(); ++r) next[finished[r]] = ids[r];
  }
  cache_.commit(sequences, batch);
}

std::vector<int32_t> Decoder::step(const std::vector<DecodeRequest>& requests, int32_t chunk,
                                   const JobControl& control) {
  require(!requests.empty() && chunk > 0, "ERR_ARGUMENT", "Expected at least one sequence and a positive chunk");
  std::vector<int32_t> before, next(requests.size(), 0);
  std::vector<std::shared_ptr<RedAdapter>> adapters;
  for (const DecodeRequest& request : requests) {
    before.push_back(cache_.length(request.sequence));
    const int64_t length = before.back() + static_cast<int64_t>(request.tokens.size());
    require(!request.tokens.empty(), "ERR_ARGUMENT", "Expected at least one token to feed but received none");
    require(length <= model_->architecture().context, "ERR_CONTEXT_LENGTH", "Expected at most ",
            model_->architecture().context, " tokens (the model's context) but received ", length);
    require(request.sampling.frequency_penalty == 0.0f && request.sampling.presence_penalty == 0.0f, "ERR_ARGUMENT",
            "Expected 0 for frequencyPenalty and presencePenalty: a decoder does not know what was generated");
    adapters.push_back(request.adapter);
  }
  const RedBatch edits(model_->architecture(), adapters, false, control.arena, &copies_);
  const BatchBounds bounds = BatchBounds::of(model_->architecture(), adapters.size());
  try {
    std::vector<size_t> fed(requests.size(), 0);
    for (;;) {
      std::vector<int32_t> tokens, starts = {0}, slots, past, sequences;
      std::vector<size_t> finished;
      for (size_t i = 0; i < requests.size(); ++i) {
        const auto& all = requests[i].tokens;
        const size_t room = static_cast<size_t>(chunk) - std::min(tokens.size(), static_cast<size_t>(chunk));
        const size_t take = std::min(room, all.size() - fed[i]);
        if (take == 0) continue;
        tokens.insert(tokens.end(), all.begin() + static_cast<std::ptrdiff_t>(fed[i]),
                      all.begin() + static_cast<std::ptrdiff_t>(fed[i] + take));
        starts.push_back(static_cast<int32_t>(tokens.size()));
        slots.push_back(requests[i].adapter ? static_cast<int32_t>(i) + 1 : 0);
        past.push_back(cache_.length(requests[i].sequence));
        sequences.push_back(requests[i].sequence);
        fed[i] += take;
        if (fed[i] == all.size()) finished.push_back(i);
      }
      if (tokens.empty()) break;
      const Batch batch({std::move(tokens), std::move(starts), std::move(slots), std::move(past)}, bounds);
      feed(sequences, batch, edits, control, finished, requests, next);
    }
  } catch (...) {
    for (size_t i = 0; i < requests.size(); ++i) cache_.truncate(requests[i].sequence, before[i]);
    throw;
  }
  for (const DecodeRequest& request : requests) {
    auto& history = history_[static_cast<size_t>(request.sequence)];
    history.insert(history.end(), request.tokens.begin(), request.tokens.end());
  }
  return next;
}

Tensor forward_logits(const Model& model, const Batch& batch, const std::vector<std::shared_ptr<RedAdapter>>& adapters,
                      const std::vector<int32_t>& rows, const JobControl& control) {
  batch.require_within(BatchBounds::of(model.architecture(), adapters.size()));
  const RedBatch edits(model.architecture(), adapters, false, control.arena);
  Tape tape(control, Tape::Mode::inference);
  const Var hidden = model.forward(tape, batch, &edits, false, nullptr);
  return head_logits(tape, hidden.value(), model.head(), static_cast<int64_t>(rows.size()), rows.data()).on_cpu();
}

}  // namespace rubricate
