// Sequences, slots and their vectors in the form that kernels on a device need (slots_kernels.h).
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "autograd/tape.h"
#include "ops/shared/rows.h"
#include "ops/slots/slots_kernels.h"

namespace rubricate {

// A kernel's argument and the device memory that it points to, which must live until the kernel is queued.
struct SlotRowsOnDevice {
  SlotRows rows;
  Tensor memory;
};

// Only slots matter: adjacent sequences of one slot may be merged, so that rows of a single slot need no array.
SlotRowsOnDevice slot_rows_on_device(Tape& tape, const SequenceRows& rows, int32_t tile_rows);
// Sequences matter: a tile never spans two of them.
SlotRowsOnDevice sequences_on_device(Tape& tape, const SequenceRows& rows, int32_t tile_rows);

template <typename Pointer>
struct SlotTableOnDevice {
  SlotTable<Pointer> table;
  Tensor memory;
};

template <typename Pointer>
SlotTableOnDevice<Pointer> slot_table_on_device(Tape& tape, const std::vector<Pointer>& pointers) {
  SlotTableOnDevice<Pointer> result;
  const auto count = static_cast<int64_t>(pointers.size());
  for (const Pointer pointer : pointers)
    if (reinterpret_cast<uintptr_t>(pointer) % 16 != 0) result.table.aligned = false;
  if (count <= kFewSlots) {
    std::copy(pointers.begin(), pointers.end(), result.table.few);
  } else {
    result.memory = tape.upload(pointers.data(), count * static_cast<int64_t>(sizeof(Pointer)));
    result.table.many = static_cast<const Pointer*>(result.memory.raw());
  }
  return result;
}

}  // namespace rubricate
