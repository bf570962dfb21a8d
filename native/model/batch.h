// The input of one forward, for training, prefill and decoding: a flat list of tokens and the sequences' start rows.
// There is no padding.
#pragma once

#include <cstdint>
#include <vector>

#include "architecture/architecture.h"
#include "ops/shared/rows.h"

namespace rubricate {

// Exclusive upper bounds of the numbers in a batch.
struct BatchBounds {
  int64_t vocabulary = 0;  // token ids and targets
  int64_t context = 0;     // positions of a sequence
  int64_t adapters = 0;    // adapters of the call: slots are 0 to `adapters`
  static BatchBounds of(const Architecture& architecture, size_t adapters) {
    return {architecture.vocabulary, architecture.context, static_cast<int64_t>(adapters)};
  }
  bool within(const BatchBounds& other) const {
    return vocabulary <= other.vocabulary && context <= other.context && adapters <= other.adapters;
  }
};

struct BatchArrays {
  std::vector<int32_t> tokens;  // [T]
  std::vector<int32_t> starts;  // [S + 1]: the first row of each sequence, then T
  std::vector<int32_t> slots;   // [S]: adapter slot of each sequence, 0: the base; empty: all 0
  std::vector<int32_t> past;    // [S]: positions of the sequence that are in the cache already; empty: all 0
};

// Arrays that were checked: code that receives a Batch need not check them. `tokens`, `starts`, `past`: as in
// BatchArrays.
class Batch {
 public:
  // Errors: ERR_ARGUMENT (no tokens, a token outside the vocabulary, starts that do not fit the tokens, an empty
  // sequence, slots or past that do not fit the sequences), ERR_CONTEXT_LENGTH.
  Batch(BatchArrays arrays, const BatchBounds& bounds);

  const std::vector<int32_t>& tokens() const { return arrays_.tokens; }
  const std::vector<int32_t>& starts() const { return arrays_.starts; }
  const std::vector<int32_t>& slots() const { return arrays_.slots; }   // [S]
  const std::vector<int32_t>& past() const { return arrays_.past; }     // [S]
  const std::vector<int32_t>& positions() const { return positions_; }  // [T], from past and starts
  int64_t rows() const { return static_cast<int64_t>(arrays_.tokens.size()); }
  int64_t sequences() const { return static_cast<int64_t>(arrays_.slots.size()); }
  const BatchBounds& bounds() const { return bounds_; }
  // Call before use with a model, or in a call, of these bounds. Throws ERR_FOREIGN if the batch was made for larger
  // ones.
  void require_within(const BatchBounds& bounds) const;
  // The sequences' rows for one forward, which shares `copies` (ops/shared/device_copies.h). They point into this
  // batch.
  SequenceRows sequence_rows(std::shared_ptr<DeviceCopies> copies) const {
    return {rows(), sequences(), starts().data(), slots().data(), std::move(copies)};
  }

 private:
  BatchArrays arrays_;
  BatchBounds bounds_;
  std::vector<int32_t> positions_;
};

}  // namespace rubricate
