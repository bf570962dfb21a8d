// Kernels of cross_entropy.h: their arguments, on every device, and the entry points of the CPU kernels.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace rubricate {

// "row_loss/1"
struct RowLossArgs {
  int64_t rows = 0, vocabulary = 0;
  const float* logits = nullptr;     // [rows, vocabulary]
  const int32_t* targets = nullptr;  // [rows]
  double* loss = nullptr;            // [rows]: nats
  uint8_t* correct = nullptr;        // [rows], or null
  // For a gradient: [rows, vocabulary] of fp32-sized memory, which may be the logits' own; else null. Row r of dz, of
  // dtype `dz_dtype` (f32 or bf16), begins where row r of this memory begins; in bf16 it fills half of the row.
  float* dz = nullptr;
  DType dz_dtype = DType::f32;
  const float* weights = nullptr;  // [rows]: dz = weight (softmax(z) - onehot(target))
};

// "scale_in_place/1": values *= factor, rounded to their dtype (f32 or bf16).
struct ScaleArgs {
  int64_t count = 0;
  void* values = nullptr;
  DType dtype = DType::f32;
  float factor = 1.0f;
  const float* factor_at = nullptr;  // on a device: address of the factor
};

// "copy_rows/1": to[i] = from[rows[i]], or with `scatter` to[rows[i]] = from[i].
struct CopyRowsArgs {
  const void* from = nullptr;
  void* to = nullptr;
  const int32_t* rows = nullptr;  // [count]
  int64_t count = 0, row_bytes = 0;
  bool scatter = false;
};

void row_loss_cpu(const RowLossArgs& args);
void scale_in_place_cpu(const ScaleArgs& args);

}  // namespace rubricate
