// The computing half of a turn: who takes part, with how many rows, and what comes of it.
#include <algorithm>
#include <cmath>
#include <mutex>
#include <string>

#include "serve/engine.h"

namespace rubricate {
namespace {

bool is(const Error& error, const char* code) { return std::string(error.code()) == code; }

}  // namespace

void Engine::admit() {
  while (const auto next = options_.order->next()) {
    Sequence& sequence = *sequences_.at(*next);
    const auto active = std::count_if(running_.begin(), running_.end(), [&](auto* one) { return !paused(*one); });
    if (active >= options_.max_sequences) return;
    if (sequence.length() >= model_->architecture().context) {
      end(sequence, EngineOutputs::Kind::context, -1);
      continue;
    }
    if (!admit(sequence)) return;
  }
}

// Gives a waiting sequence pages for its tokens; from then on it runs. Leaves some for those that decode already, so that
// a sequence is not admitted only to be put out again. false: not yet.
bool Engine::admit(Sequence& sequence) {
  const auto active = std::count_if(running_.begin(), running_.end(), [&](auto* one) { return !paused(*one); });
  // Weights that are trained change what a page should hold.
  if (prefixes_ != nullptr && !model_->trainable()) prefixes_->find(pool_, sequence);
  const int64_t length = sequence.length();
  const int64_t wanted =
      KvPool::pages_for(length) - static_cast<int64_t>(sequence.keys.pages.size()) + (active + 7) / 8;
  const auto not_yet = [&] {
    pool_.release(sequence.keys);
    return false;
  };
  while (pool_.free() + pool_.cached() < wanted) {
    Sequence* const other = victim(nullptr, true);
    if (other == nullptr) return not_yet();
    put_out(*other);
  }
  try {
    pool_.reserve(sequence.keys, length);
  } catch (const Error& error) {
    if (!running_.empty()) return not_yet();  // they give back what they have
    fail(sequence, error.code(), error.what());
    return true;
  }
  counts_.found_tokens += sequence.keys.length;
  if (!sequence.started) {
    const int64_t since = sequence.request.submitted_ns;
    const int64_t waited_ms =
        since == 0 ? 0 : std::clamp<int64_t>((options_.clock() - since) / 1'000'000, 0, INT32_MAX);
    outputs_.add(sequence.id, EngineOutputs::Kind::started, sequence.keys.length, static_cast<int32_t>(waited_ms));
  }
  sequence.started = sequence.running = true;
  sequence.group = group_of(sequence.request.version.get());
  options_.order->start(sequence.id, sequence.pending());
  const auto place = std::find_if(running_.begin(), running_.end(),
                                  [&](const Sequence* other) { return other->arrival > sequence.arrival; });
  running_.insert(place, &sequence);
  return true;
}

int32_t Engine::group_of(const AdapterVersion* version) {
  if (version == nullptr || !version->has_norm()) return 0;
  for (const Sequence* other : running_)
    if (other->request.version && other->request.version->has_norm() &&
        other->request.version->plan() == version->plan())
      return other->group;
  return ++groups_;
}

void Engine::put_out(Sequence& sequence) {
  pool_.release(sequence.keys);
  std::erase(running_, &sequence);
  sequence.running = false;
  ++counts_.put_out;
  options_.order->put_out(sequence.id);
  if (!paused(sequence)) return;
  options_.order->remove(sequence.id);
  sequence.parked = true;
}

Sequence* Engine::victim(const Sequence* needy, bool paused_only) const {
  Sequence* last = nullptr;
  for (auto one = running_.rbegin(); one != running_.rend(); ++one)
    if (*one != needy && paused(**one)) return *one;
  if (paused_only) return nullptr;
  for (auto one = running_.rbegin(); one != running_.rend(); ++one)
    if (last == nullptr || options_.order->ahead((*one)->id, last->id)) last = *one;
  return last;
}

bool Engine::make_room(Sequence& sequence) {
  for (;;) {
    std::string failure = "Expected a page";
    try {
      if (pool_.reserve(sequence.keys, sequence.length())) return true;
    } catch (const Error& error) {
      failure = error.what();
    }
    if (running_.size() == 1) {
      fail(sequence, "ERR_OUT_OF_MEMORY", failure);
      return false;
    }
    Sequence* const other = victim(&sequence, false);
    put_out(*other);
    if (other == &sequence) return false;
  }
}

// The sequences of the next step and their rows.
std::vector<Sequence*> Engine::planned(std::vector<StepPart>& parts) {
  std::vector<Sequence*> candidates;
  for (Sequence* sequence : running_)
    if (!paused(*sequence)) candidates.push_back(sequence);
  if (most_rows_ > 0)  // not all may fit, so those that waited longest come first
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](auto* a, auto* b) { return a->last_step < b->last_step; });
  std::vector<Runnable> runnable;
  for (const Sequence* sequence : candidates) {
    const int64_t first = sequence->keys.length + 1;  // whose row is the next one
    runnable.push_back({sequence->pending(), sequence->group, std::max<int64_t>(sequence->to_score - first, 0),
                        sequence->prompt - first});
  }
  if (runnable.empty()) return {};
  last_group_ = next_group(runnable, last_group_);
  const auto decoding = std::count_if(runnable.begin(), runnable.end(), [&](const Runnable& one) {
    return one.group == last_group_ && one.pending == 1;
  });
  const std::vector<int64_t> rows =
      planned_rows(runnable, last_group_, times_.chunk(decoding, options_.step_ns),
                   most_rows_ > 0 ? most_rows_ : INT32_MAX, decoding > 0 ? score_cost_ : 1.0);
  std::vector<std::pair<Sequence*, int64_t>> taking;
  for (size_t i = 0; i < candidates.size(); ++i)
    if (rows[i] > 0) taking.emplace_back(candidates[i], rows[i]);
  const auto runs = [&](const Sequence* one) {
    return std::find(running_.begin(), running_.end(), one) != running_.end();
  };
  for (const auto& [sequence, count] : taking)
    if (runs(sequence)) make_room(*sequence);
  std::vector<Sequence*> sequences;
  for (const auto& [sequence, count] : taking) {
    if (!runs(sequence)) continue;
    sequences.push_back(sequence);
    parts.push_back({&sequence->keys, &sequence->tokens, count, sequence->request.version, &sequence->request.sampling,
                     &sequence->counts, sequence->request.top_log_probs,
                     std::max<int64_t>(sequence->to_score, sequence->keys.length + 1),
                     std::min<int64_t>(sequence->prompt, sequence->keys.length + count + 1)});
  }
  return sequences;
}

void Engine::compute() {
  for (;;) {
    std::vector<StepPart> parts;
    const std::vector<Sequence*> sequences = planned(parts);
    if (sequences.empty()) return;
    int64_t rows = 0, scored = 0, decoding = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
      rows += parts[i].rows;
      const bool decodes = sequences[i]->pending() == 1;
      decoding += decodes;
      if (!decodes) scored += parts[i].scored();
    }
    const int64_t begin = options_.clock();
    std::vector<StepResult> results;
    try {
      results = stepper_.run(pool_, parts);
    } catch (const Error& error) {
      if (is(error, "ERR_OUT_OF_MEMORY") && rows > 1) {
        most_rows_ = rows / 2;
        continue;
      }
      return step_failed(sequences, error);
    } catch (const std::bad_alloc&) {
      return step_failed(sequences, Error("ERR_OUT_OF_MEMORY", "Memory could not be allocated"));
    } catch (const std::exception& error) {
      return step_failed(sequences, Error("ERR_INTERNAL", error.what()));
    }
    counts_.step_ns = options_.clock() - begin;
    times_.add(decoding, static_cast<double>(rows - decoding) + (score_cost_ - 1.0) * static_cast<double>(scored),
               counts_.step_ns);
    ++counts_.steps;
    counts_.computed_tokens += rows;
    counts_.versions = stepper_.versions();
    most_rows_ = 2 * most_rows_ > StepTimes::kMostChunk + options_.max_sequences ? 0 : 2 * most_rows_;
    if (prefixes_ != nullptr && !model_->trainable())
      for (size_t i = 0; i < parts.size(); ++i)
        prefixes_->add(pool_, *sequences[i], sequences[i]->keys.length - parts[i].rows);
    return take_tokens(sequences, std::move(results));
  }
}

void Engine::step_failed(const std::vector<Sequence*>& sequences, const Error& error) {
  if (is(error, "ERR_DEVICE_LOST")) mailbox_.close({error.code(), error.what()});
  if (is(error, "ERR_DEVICE_LOST") || is(error, "ERR_FILE")) return fail_all(error.code(), error.what());
  for (Sequence* sequence : sequences) fail(*sequence, error.code(), error.what());
}

void Engine::take_tokens(const std::vector<Sequence*>& sequences, std::vector<StepResult> results) {
  for (size_t i = 0; i < sequences.size(); ++i) {
    sequences[i]->last_step = counts_.steps;
    if (!take_scores(*sequences[i], results[i].scores)) continue;
    if (results[i].sampled)
      take_token(*sequences[i], results[i].token);
    else if (sequences[i]->pending() == 0)
      end(*sequences[i], EngineOutputs::Kind::length, -1);
  }
}

bool Engine::take_scores(Sequence& sequence, const std::vector<LogProbs>& scores) {
  for (size_t i = 0; i < scores.size(); ++i)
    if (!std::isfinite(scores[i].chosen)) {
      fail(sequence, "ERR_NOT_FINITE",
           concat("Expected a finite log-probability of token ", sequence.to_score + static_cast<int64_t>(i),
                  " but received ", scores[i].chosen));
      return false;
    }
  if (scores.empty()) return true;
  const auto next_number = [&] { return static_cast<int32_t>(outputs_.numbers.size()); };
  outputs_.add(sequence.id, EngineOutputs::Kind::scores, static_cast<int32_t>(scores.size()), next_number());
  for (const LogProbs& score : scores) outputs_.numbers.push_back(score.chosen);
  if (sequence.request.top_log_probs > 0) {
    const auto tops = static_cast<int32_t>(scores.front().top.size());
    outputs_.add(sequence.id, EngineOutputs::Kind::score_tops, tops, next_number());
    for (const LogProbs& score : scores) tell_tops(score.top);
  }
  sequence.to_score += static_cast<int64_t>(scores.size());
  return true;
}

void Engine::tell_tops(const std::vector<TokenLogProb>& top) {
  for (const TokenLogProb& one : top)
    outputs_.numbers.insert(outputs_.numbers.end(), {static_cast<float>(one.id), one.log_prob});
}

void Engine::take_token(Sequence& sequence, const SampledToken& token) {
  using Kind = EngineOutputs::Kind;
  if (token.id < 0)
    return fail(sequence, "ERR_NOT_FINITE",
                "Expected logits that are numbers, at least one of them finite, but received NaN, +inf or only -inf");
  const auto& stops = sequence.request.stop_ids;
  if (std::find(stops.begin(), stops.end(), token.id) != stops.end()) return end(sequence, Kind::stopped, token.id);
  outputs_.add(sequence.id, Kind::token, token.id, sequence.generated);
  if (sequence.request.top_log_probs >= 0) {
    const auto& top = token.log_probs.top;
    outputs_.add(sequence.id, Kind::log_probs, static_cast<int32_t>(top.size()),
                 static_cast<int32_t>(outputs_.numbers.size()));
    outputs_.numbers.push_back(token.log_probs.chosen);
    tell_tops(top);
  }
  sequence.tokens.push_back(token.id);
  if (sequence.request.sampling.counts()) sequence.counts.add_generated(token.id);
  ++sequence.generated;
  ++counts_.generated_tokens;
  options_.order->generated(sequence.id, 1);
  if (sequence.generated == sequence.request.max_new)
    end(sequence, Kind::length, -1);
  else if (static_cast<int64_t>(sequence.tokens.size()) >= model_->architecture().context)
    end(sequence, Kind::context, -1);
}

}  // namespace rubricate
