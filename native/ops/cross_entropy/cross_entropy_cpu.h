// Kernels of the cross-entropy, on raw pointers.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace rubricate {

struct RowLossArgs {
  int64_t rows = 0, vocabulary = 0;
  const float* logits = nullptr;     // [rows, vocabulary]
  const int32_t* targets = nullptr;  // [rows]
  double* loss = nullptr;            // [rows]: nats
  uint8_t* correct = nullptr;        // [rows], or null
  // For a gradient: [rows, vocabulary] of memory for fp32, which may be the logits themselves; else null. Row r of dz,
  // of dtype `dz_dtype` (f32 or bf16), begins where row r of this begins, and for bf16 fills half of it.
  float* dz = nullptr;
  DType dz_dtype = DType::f32;
  const float* weights = nullptr;  // [rows]: dz = weight (softmax(z) - onehot(target))
};
void row_loss_cpu(const RowLossArgs& args);

// values *= factor, rounded to their dtype (f32 or bf16).
struct ScaleArgs {
  int64_t count = 0;
  void* values = nullptr;
  DType dtype = DType::f32;
  float factor = 1.0f;
};
void scale_in_place_cpu(const ScaleArgs& args);

}  // namespace rubricate
