#include "serve/stepper.h"

#include <algorithm>
#include <iterator>

#include "ops/cross_entropy/cross_entropy.h"

namespace rubricate {

Stepper::Stepper(std::shared_ptr<const Model> model, std::shared_ptr<Arena> arena, int64_t version_bytes,
                 std::function<void()> check_weights)
    : model_(std::move(model)),
      arena_(std::move(arena)),
      check_weights_(std::move(check_weights)),
      versions_(arena_, version_bytes),
      batch_(model_->architecture()) {}

std::vector<StepResult> Stepper::run(KvPool& pool, const std::vector<StepPart>& parts) {
  struct End {
    Stepper& stepper;
    ~End() {
      stepper.slots_ = stepper.batch_.slots();
      stepper.batch_.clear();
      stepper.versions_.trim();
      stepper.arena_->end_job();
    }
  } const end{*this};
  std::vector<StepResult> results = forward(pool, parts);
  if (check_weights_) check_weights_();
  for (const StepPart& part : parts) part.keys->length += static_cast<int32_t>(part.rows);
  return results;
}

std::vector<StepResult> Stepper::forward(KvPool& pool, const std::vector<StepPart>& parts) {
  BatchArrays arrays{{}, {0}, {}, {}};
  std::vector<KvSequence*> sequences;
  std::vector<int32_t> rows;    // that end a part which samples
  std::vector<size_t> samples;  // those parts
  for (size_t i = 0; i < parts.size(); ++i) {
    const StepPart& part = parts[i];
    const auto first = part.tokens->begin() + part.keys->length;
    arrays.tokens.insert(arrays.tokens.end(), first, first + part.rows);
    arrays.starts.push_back(static_cast<int32_t>(arrays.tokens.size()));
    arrays.slots.push_back(batch_.slot_of(part.version));
    arrays.past.push_back(part.keys->length);
    sequences.push_back(part.keys);
    if (!part.samples()) continue;
    rows.push_back(arrays.starts.back() - 1);
    samples.push_back(i);
  }
  const Batch batch(std::move(arrays), BatchBounds::of(model_->architecture(), static_cast<size_t>(batch_.slots())));
  batch_.place(versions_, arena_);
  const PagedKeys keys = pool.keys(sequences, batch);
  Tape tape(arena_, Tape::Mode::inference);
  tape.set_observer(observer_);
  const Var hidden = model_->forward(tape, batch, &batch_, false, &keys);

  std::vector<StepResult> results(parts.size());
  score(tape, hidden.value(), parts, batch.starts(), results);
  if (rows.empty()) return results;
  const Tensor logits =
      head_logits(tape, hidden.value(), model_->head(), static_cast<int64_t>(rows.size()), rows.data());
  std::vector<SampleRequest> requests;
  for (const size_t i : samples)
    requests.push_back({*parts[i].sampling, parts[i].counts, parts[i].tokens->size(), parts[i].top_log_probs});
  std::vector<SampledToken> tokens = sample_rows(tape, logits, requests);
  for (size_t i = 0; i < samples.size(); ++i) {
    results[samples[i]].sampled = true;
    results[samples[i]].token = std::move(tokens[i]);
  }
  return results;
}

void Stepper::score(Tape& tape, const Tensor& hidden, const std::vector<StepPart>& parts,
                    const std::vector<int32_t>& starts, std::vector<StepResult>& results) const {
  std::vector<LogProbRequest> wanted;
  for (size_t i = 0; i < parts.size(); ++i)
    for (int64_t at = parts[i].score_begin; at < parts[i].score_end; ++at)
      wanted.push_back({starts[i] + static_cast<int32_t>(at - 1 - parts[i].keys->length),
                        (*parts[i].tokens)[static_cast<size_t>(at)], std::max(parts[i].top_log_probs, 0)});
  if (wanted.empty()) return;
  std::vector<LogProbs> scores = score_rows(tape, hidden, model_->head(), wanted);
  auto from = std::make_move_iterator(scores.begin());
  for (size_t i = 0; i < parts.size(); ++i) {
    results[i].scores.assign(from, from + parts[i].scored());
    from += parts[i].scored();
  }
}

}  // namespace rubricate
