// One forward's input, for training, prefill and decoding alike: flat tokens with extents. Padding does not exist.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/shared/rows.h"

namespace rubricate {

struct Batch {
  std::vector<int32_t> tokens;     // [T]
  std::vector<int32_t> starts;     // [S + 1]: first row of each sequence, then T
  std::vector<int32_t> slots;      // [S]: adapter slot of each sequence, 0: none
  std::vector<int32_t> past;       // [S]: positions of the sequence that came before this batch (in the cache)
  std::vector<int32_t> positions;  // [T], from past and starts

  // past: empty means all 0; slots: empty means all 0. Errors: ERR_ARGUMENT for extents that do not fit the tokens.
  static Batch make(std::vector<int32_t> tokens, std::vector<int32_t> starts, std::vector<int32_t> slots,
                    std::vector<int32_t> past);
  int64_t rows() const { return static_cast<int64_t>(tokens.size()); }
  int64_t sequences() const { return static_cast<int64_t>(slots.size()); }
  SequenceRows sequence_rows() const { return {rows(), sequences(), starts.data(), slots.data()}; }
};

}  // namespace rubricate
