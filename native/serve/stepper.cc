#include "serve/stepper.h"

#include "device/cpu/thread_pool.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace rubricate {
namespace {

int32_t sampled_or_not_finite(const Tensor& logits, int64_t row, const StepPart& part) {
  try {
    const auto& history = *part.tokens;
    return sample_token(logits.data<float>() + row * logits.cols(), logits.cols(), *part.sampling, history,
                        history.size());
  } catch (const Error& error) {
    if (std::string(error.code()) != "ERR_NOT_FINITE") throw;
    return Stepper::kNotFinite;
  }
}

}  // namespace

Stepper::Stepper(std::shared_ptr<const Model> model, std::shared_ptr<Arena> arena, int64_t version_bytes,
                 std::function<void()> check_weights)
    : model_(std::move(model)),
      arena_(std::move(arena)),
      check_weights_(std::move(check_weights)),
      versions_(arena_, version_bytes),
      batch_(model_->architecture()) {}

std::vector<int32_t> Stepper::run(KvPool& pool, const std::vector<StepPart>& parts) {
  struct End {
    Stepper& stepper;
    ~End() {
      stepper.slots_ = stepper.batch_.slots();
      stepper.batch_.clear();
      stepper.versions_.trim();
      stepper.arena_->end_job();
    }
  } const end{*this};
  std::vector<int32_t> ids = forward(pool, parts);
  if (check_weights_) check_weights_();
  for (const StepPart& part : parts) part.keys->length += static_cast<int32_t>(part.rows);
  return ids;
}

std::vector<int32_t> Stepper::forward(KvPool& pool, const std::vector<StepPart>& parts) {
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
  const Var hidden = model_->forward(tape, batch, &batch_, false, &keys);

  std::vector<int32_t> ids(parts.size(), kNotSampled);
  if (rows.empty()) return ids;
  const auto count = static_cast<int64_t>(rows.size());
  const Tensor logits = head_logits(tape, hidden.value(), model_->head(), count, rows.data()).on_cpu();
  parallel_ranges(count, 1, [&](int64_t begin, int64_t) {
    const size_t part = samples[static_cast<size_t>(begin)];
    ids[part] = sampled_or_not_finite(logits, begin, parts[part]);
  });
  return ids;
}

}  // namespace rubricate
