#include "model/batch.h"

#include "base/error.h"
#include "ops/embedding/embedding.h"

namespace rubricate {

Batch::Batch(BatchArrays arrays, const BatchBounds& bounds) : arrays_(std::move(arrays)), bounds_(bounds) {
  auto& [tokens, starts, slots, past] = arrays_;
  const auto count = static_cast<int64_t>(tokens.size()), sequences = static_cast<int64_t>(starts.size()) - 1;
  require(count > 0, "ERR_ARGUMENT", "Expected at least one token but received none");
  check_tokens(tokens.data(), count, bounds.vocabulary);
  check_starts(starts.data(), sequences, count, 1, "sequenceStarts");
  if (slots.empty()) slots.assign(static_cast<size_t>(sequences), 0);
  check_slot_count(static_cast<int64_t>(slots.size()), sequences);
  check_slots(slots.data(), sequences, bounds.adapters);
  if (past.empty()) past.assign(static_cast<size_t>(sequences), 0);
  require(static_cast<int64_t>(past.size()) == sequences, "ERR_ARGUMENT", "Expected one past length for each of ",
          sequences, " sequences but received ", past.size());

  positions_.reserve(tokens.size());
  for (size_t s = 0; s < past.size(); ++s) {
    require(past[s] >= 0, "ERR_ARGUMENT", "Expected past lengths of 0 or more but received ", past[s], " for sequence ",
            s);
    const int64_t length = int64_t{past[s]} + starts[s + 1] - starts[s];
    require(length <= bounds.context, "ERR_CONTEXT_LENGTH", "Expected at most ", bounds.context,
            " positions (the model's context) but received a sequence that reaches ", length);
    for (int32_t row = starts[s]; row < starts[s + 1]; ++row) positions_.push_back(past[s] + (row - starts[s]));
  }
}

void Batch::require_within(const BatchBounds& bounds) const {
  require(bounds_.within(bounds), "ERR_FOREIGN", "Expected a batch of at most ", bounds.vocabulary, " token ids, ",
          bounds.context, " positions and ", bounds.adapters, " adapters but received one that was made for ",
          bounds_.vocabulary, ", ", bounds_.context, " and ", bounds_.adapters);
}

}  // namespace rubricate
