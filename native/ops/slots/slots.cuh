// Device functions for rows, slots and tiles (slots_kernels.h), and the edit of a chunk of columns.
#pragma once

#include "ops/shared/rows.cuh"
#include "ops/shared/search.cuh"
#include "ops/slots/slots_kernels.h"

namespace rubricate::cuda {

__device__ __forceinline__ int32_t slot_of_row(const SlotRows& rows, int64_t row) {
  return rows.slots == nullptr ? rows.slot : rows.slots[last_at_most(rows.starts, rows.sequences, row)];
}

struct Tile {
  int64_t begin, end;  // rows of one sequence
  int32_t slot;
};
__device__ __forceinline__ Tile tile_at(const SlotRows& rows, int64_t index) {
  if (rows.slots == nullptr) {
    const int64_t begin = index * rows.tile_rows;
    return {begin, begin + rows.tile_rows < rows.rows ? begin + rows.tile_rows : rows.rows, rows.slot};
  }
  const int64_t s = last_at_most(rows.tiles, rows.sequences, index);
  const int64_t begin = rows.starts[s] + (index - rows.tiles[s]) * rows.tile_rows, last = rows.starts[s + 1];
  return {begin, begin + rows.tile_rows < last ? begin + rows.tile_rows : last, rows.slots[s]};
}

template <typename Pointer>
__device__ __forceinline__ Pointer of_slot(const SlotTable<Pointer>& table, int32_t slot) {
  return table.many != nullptr ? table.many[slot] : table.few[slot];
}

// The slot's vector, or `own` if it has none.
__device__ __forceinline__ const float* of_slot_or(const SlotTable<const float*>& table, int32_t slot,
                                                   const float* own) {
  const float* const found = of_slot(table, slot);
  return found != nullptr ? found : own;
}

// fma(scale, h, bias) in place, at columns [column, column + left); null means 1 and 0.
template <bool kWhole>
__device__ __forceinline__ void edit_chunk(float (&h)[kRowChunk], const float* scale, const float* bias, int64_t column,
                                           int64_t left) {
  float s[kRowChunk], b[kRowChunk];
  if (scale != nullptr) load_chunk<kWhole>(scale + column, left, s);
  if (bias != nullptr) load_chunk<kWhole>(bias + column, left, b);
#pragma unroll
  for (int i = 0; i < kRowChunk; ++i) {
    if (scale == nullptr)
      h[i] = bias == nullptr ? h[i] : h[i] + b[i];
    else
      h[i] = bias == nullptr ? s[i] * h[i] : fmaf(s[i], h[i], b[i]);
  }
}

}  // namespace rubricate::cuda
