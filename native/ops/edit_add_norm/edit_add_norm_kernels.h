// Kernels of edit_add_norm.h: their arguments, and the entry points of the CPU kernels.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "ops/row_sums/row_sums_kernels.h"

namespace rubricate {

struct EditAddNormArgs {
  DType dtype = DType::f32;  // of h, residual, sum and normed: f32 or bf16
  int64_t cols = 0;
  int64_t begin = 0, end = 0;  // rows; on the CPU they share one slot
  const void* h = nullptr;
  const void* residual = nullptr;
  const float* scale = nullptr;   // null: 1; unused on a device, as bias is
  const float* bias = nullptr;    // null: 0
  const float* weight = nullptr;  // of the norm; null: no norm
  float eps = 0.0f;
  void* sum = nullptr;
  void* normed = nullptr;
  float* inv = nullptr;  // [T] 1 / rms of the sum, or null
};

// "edit_add_norm_forward/1"
struct EditAddNormSlotsArgs {
  EditAddNormArgs all;
  SlotRows rows;
  SlotTable<const float*> scale, bias;
};

// "edit_add_slot_norm_forward/1": each row with its slot's weight of the norm, or all.weight where the slot has none.
struct EditAddSlotNormArgs : EditAddNormSlotsArgs {
  SlotTable<const float*> weight;
};

struct EditAddNormBackwardArgs {
  DType dtype = DType::f32;  // of sum, the gradients, g and dh
  int64_t cols = 0;
  int64_t begin = 0, end = 0;         // rows; on the CPU they share one slot
  const void* grad_sum = nullptr;     // null: 0
  const void* grad_normed = nullptr;  // null: 0; then sum, weight, inv and g are not used
  const void* sum = nullptr;
  const float* weight = nullptr;
  const float* inv = nullptr;
  const float* scale = nullptr;  // null: 1; unused on a device
  void* g = nullptr;             // grad_sum + RMSNorm'(grad_normed)
  void* dh = nullptr;            // scale * g; null if not required
};

// "edit_add_norm_backward/1", if grad_normed is given (otherwise "row_sums/1" is enough): rows [begin, end) are those
// of sums' sequences; sums.grad is g, and sums.scale and sums.rows are used for dh too.
struct EditAddNormBackwardSlotsArgs {
  EditAddNormBackwardArgs all;
  SlotSumsArgs sums;
};

// "edit_add_slot_norm_backward/1": the same with weights of the norm by slot.
struct EditAddSlotNormBackwardArgs : EditAddNormBackwardSlotsArgs {
  SlotTable<const float*> weight;
};

// Rows [begin, end), which share one slot. recompute_sum: the forward's arguments (cols, h, residual, scale, bias),
// from which the sum is recomputed, with the same bits, if args has none; or null. With a grad_normed, g must not
// overlap any input.
void edit_add_norm_forward_cpu(const EditAddNormArgs& args);
void edit_add_norm_backward_cpu(const EditAddNormBackwardArgs& args, const EditAddNormArgs* recompute_sum);

}  // namespace rubricate
