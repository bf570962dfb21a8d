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

// pointers [count], in host memory; null: every slot's is null. on_device: the same in device memory, or null.
template <typename Pointer>
SlotTableOnDevice<Pointer> slot_table_on_device(Tape& tape, const Pointer* pointers, int64_t count,
                                                const Pointer* on_device = nullptr) {
  SlotTableOnDevice<Pointer> result;
  if (pointers == nullptr && count <= kFewSlots) return result;
  const std::vector<Pointer> none(pointers == nullptr ? static_cast<size_t>(count) : 0, nullptr);
  if (pointers == nullptr) pointers = none.data();
  for (int64_t slot = 0; slot < count; ++slot)
    if (reinterpret_cast<uintptr_t>(pointers[slot]) % 16 != 0) result.table.aligned = false;
  if (count <= kFewSlots) {
    std::copy(pointers, pointers + count, result.table.few);
  } else if (on_device != nullptr) {
    result.table.many = on_device;
  } else {
    result.memory = tape.upload(pointers, count * static_cast<int64_t>(sizeof(Pointer)));
    result.table.many = static_cast<const Pointer*>(result.memory.raw());
  }
  return result;
}
template <typename Pointer>
SlotTableOnDevice<Pointer> slot_table_on_device(Tape& tape, const std::vector<Pointer>& pointers) {
  return slot_table_on_device(tape, pointers.data(), static_cast<int64_t>(pointers.size()));
}

}  // namespace rubricate
