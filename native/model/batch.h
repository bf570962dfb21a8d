// One forward's input, for training, prefill and decoding alike: flat tokens with extents. Padding does not exist.
#pragma once

#include <cstdint>
#include <vector>

#include "architecture/architecture.h"
#include "ops/shared/rows.h"

namespace rubricate {

// What the numbers of a batch are below.
struct BatchBounds {
  int64_t vocabulary = 0;  // token ids and targets
  int64_t context = 0;     // positions of a sequence
  int64_t adapters = 0;    // of the call: slots are from 0 to that
  static BatchBounds of(const Architecture& architecture, size_t adapters) {
    return {architecture.vocabulary, architecture.context, static_cast<int64_t>(adapters)};
  }
  bool within(const BatchBounds& other) const {
    return vocabulary <= other.vocabulary && context <= other.context && adapters <= other.adapters;
  }
};

struct BatchArrays {
  std::vector<int32_t> tokens;  // [T]
  std::vector<int32_t> starts;  // [S + 1]: first row of each sequence, then T
  std::vector<int32_t> slots;   // [S]: adapter slot of each sequence, 0: none; empty: all 0
  std::vector<int32_t> past;    // [S]: positions of the sequence before this batch (in the cache); empty: all 0
};

// Arrays that obey all rules: what has a batch need not check them. `tokens`, `starts`, `past`: as in BatchArrays.
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
  // For use with a model, or in a call, of these bounds. Errors: ERR_FOREIGN where the batch was made for larger ones.
  void require_within(const BatchBounds& bounds) const;
  // Of one forward, which shares `copies` (ops/shared/device_copies.h). They point into this batch.
  SequenceRows sequence_rows(std::shared_ptr<DeviceCopies> copies) const {
    return {rows(), sequences(), starts().data(), slots().data(), std::move(copies)};
  }

 private:
  BatchArrays arrays_;
  BatchBounds bounds_;
  std::vector<int32_t> positions_;
};

}  // namespace rubricate
