#include "model/batch.h"

#include "base/error.h"

namespace rubricate {

Batch Batch::make(std::vector<int32_t> tokens, std::vector<int32_t> starts, std::vector<int32_t> slots,
                  std::vector<int32_t> past) {
  Batch batch;
  require(!tokens.empty(), "ERR_ARGUMENT", "Expected at least one token but received none");
  require(starts.size() >= 2 && starts.front() == 0 && starts.back() == static_cast<int64_t>(tokens.size()),
          "ERR_ARGUMENT", "Expected sequence starts from 0 to ", tokens.size());
  const size_t sequences = starts.size() - 1;
  for (size_t s = 0; s < sequences; ++s)
    require(starts[s] < starts[s + 1], "ERR_ARGUMENT", "Expected sequences of at least one token but sequence ", s,
            " is empty or out of order");
  if (slots.empty()) slots.assign(sequences, 0);
  if (past.empty()) past.assign(sequences, 0);
  require(slots.size() == sequences && past.size() == sequences, "ERR_ARGUMENT",
          "Expected one slot and one past length for each of ", sequences, " sequences");
  batch.positions.reserve(tokens.size());
  for (size_t s = 0; s < sequences; ++s) {
    require(slots[s] >= 0 && past[s] >= 0, "ERR_ARGUMENT", "Expected slots and past lengths of 0 or more");
    for (int32_t row = starts[s]; row < starts[s + 1]; ++row) batch.positions.push_back(past[s] + row - starts[s]);
  }
  batch.tokens = std::move(tokens);
  batch.starts = std::move(starts);
  batch.slots = std::move(slots);
  batch.past = std::move(past);
  return batch;
}

}  // namespace rubricate
