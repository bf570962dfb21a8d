// How kernels on a device find a row's adapter slot and that slot's vectors. Plain data; pointers are to device memory.
#pragma once

#include <cstdint>

namespace rubricate {

constexpr int64_t kFewSlots = 8;

// A pointer for each slot, null if it has none. A few slots fit in the arguments themselves.
template <typename Pointer>
struct SlotTable {
  Pointer few[kFewSlots] = {};
  const Pointer* many = nullptr;  // pointers of all slots, if there are more than kFewSlots
  bool aligned = true;            // all pointers are aligned to 16 bytes
};

// Which sequence, slot and tile a row belongs to. Tiles are runs of `tile_rows` rows, counted from a sequence's first
// row. Without arrays: one sequence, of slot `slot`.
struct SlotRows {
  int64_t rows = 0;
  int64_t sequences = 1;
  int64_t tile_count = 0;  // of all sequences
  int32_t tile_rows = 1;
  int32_t slot = 0;
  const int32_t* starts = nullptr;  // [sequences + 1]
  const int32_t* slots = nullptr;   // [sequences]
  const int32_t* tiles = nullptr;   // [sequences + 1]: first tile of each sequence, then tile_count
};

}  // namespace rubricate
