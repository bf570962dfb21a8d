#include "ops/slots/slots.h"

#include "base/integers.h"
#include "ops/shared/device_copies.h"

namespace rubricate {
namespace {

int32_t tiles_of(int64_t rows, int32_t tile_rows) { return static_cast<int32_t>(ceil_div(rows, tile_rows)); }

SlotRowsOnDevice one_sequence(int64_t rows, int32_t slot, int32_t tile_rows) {
  SlotRowsOnDevice result;
  result.rows.rows = rows;
  result.rows.slot = slot;
  result.rows.tile_rows = tile_rows;
  result.rows.tile_count = tiles_of(rows, tile_rows);
  return result;
}

}  // namespace

SlotRowsOnDevice slot_rows_on_device(Tape& tape, const SequenceRows& rows, int32_t tile_rows) {
  const int32_t* const end = rows.slots + rows.sequences;
  if (rows.sequences > 0 && std::all_of(rows.slots, end, [&](int32_t slot) { return slot == rows.slots[0]; }))
    return one_sequence(rows.rows, rows.slots[0], tile_rows);
  return sequences_on_device(tape, rows, tile_rows);
}

SlotRowsOnDevice sequences_on_device(Tape& tape, const SequenceRows& rows, int32_t tile_rows) {
  if (rows.sequences == 1) return one_sequence(rows.rows, rows.slots[0], tile_rows);
  const auto count = static_cast<size_t>(rows.sequences);
  int32_t tiles = 0;
  for (size_t s = 0; s < count; ++s) tiles += tiles_of(rows.starts[s + 1] - rows.starts[s], tile_rows);

  SlotRowsOnDevice result;
  result.memory = device_copy(tape, rows.copies, DeviceCopies::Table::slot_tiles, tile_rows, [&] {
                    std::vector<int32_t> arrays;  // starts, slots, first tile of each sequence
                    arrays.reserve(3 * count + 2);
                    arrays.insert(arrays.end(), rows.starts, rows.starts + count + 1);
                    arrays.insert(arrays.end(), rows.slots, rows.slots + count);
                    int32_t tile = 0;
                    for (size_t s = 0; s < count; ++s) {
                      arrays.push_back(tile);
                      tile += tiles_of(rows.starts[s + 1] - rows.starts[s], tile_rows);
                    }
                    arrays.push_back(tile);
                    return arrays;
                  }).memory;
  const auto* const memory = static_cast<const int32_t*>(result.memory.raw());
  result.rows.rows = rows.rows;
  result.rows.sequences = rows.sequences;
  result.rows.tile_rows = tile_rows;
  result.rows.tile_count = tiles;
  result.rows.starts = memory;
  result.rows.slots = memory + count + 1;
  result.rows.tiles = memory + 2 * count + 1;
  return result;
}

}  // namespace rubricate
