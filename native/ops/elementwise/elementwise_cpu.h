// Kernels of the elementwise ops, over [begin, end) of flat arrays, or over rows of a matrix.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace rubricate {

enum class Elementwise {
  add,            // out = a + b
  multiply,       // out = a * b
  scale,          // out = a * factor
  fill,           // out = factor
  silu,           // out = a * sigmoid(a)
  silu_backward,  // out = b * s * (1 + a * (1 - s)), s = sigmoid(a)
  difference,     // out = factor * (a - b)
};

struct ElementwiseArgs {
  Elementwise op = Elementwise::add;
  DType dtype = DType::f32;  // of a, b and out: f32 or bf16
  const void* a = nullptr;
  const void* b = nullptr;  // where the op has it
  void* out = nullptr;      // may be a
  float factor = 0.0f;
  int64_t begin = 0, end = 0;
};
void elementwise_cpu(const ElementwiseArgs& args);

struct CastArgs {
  const void* a = nullptr;
  DType from = DType::f32;
  void* out = nullptr;
  DType to = DType::f32;
  int64_t begin = 0, end = 0;
};
void cast_cpu(const CastArgs& args);

// out[r] = sum_j a[r, j], or sum_j (a[r, j] - b[r, j])^2 where b is given: 16 chains over j, then a tree.
struct RowSumArgs {
  DType dtype = DType::f32;
  const void* a = nullptr;
  const void* b = nullptr;
  float* out = nullptr;  // [rows]
  int64_t cols = 0;
  int64_t begin = 0, end = 0;  // rows
};
void row_sum_cpu(const RowSumArgs& args);

}  // namespace rubricate
