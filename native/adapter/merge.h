// Merges an adapter's edit of a linear layer into the layer's own weight and bias, and its own norm in place of the
// model's.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

namespace rubricate {

// The linear steps of a site (native/adapter/plan.h) as they change its weight W [outputs, inputs] or its bias b
// [outputs]: W' = diag(scale) (W diag(input_scale) + factor B A + S), b' = scale * b + bias.
struct LinearMerge {
  std::vector<float> a, b;  // [rank, inputs], [outputs, rank]; empty: no low-rank update
  int64_t rank = 0;
  float factor = 0.0f;
  std::vector<int32_t> sparse_indices;  // of the entries of S: n * inputs + k, ascending, each once; of a matrix alone
  std::vector<float> sparse_values;     // as many
  std::vector<float> input_scale;       // [inputs]; empty: 1. Of a matrix alone
  std::vector<float> scale;             // [outputs]; empty: 1
  std::vector<float> bias;              // [outputs]; empty: 0. Of a vector alone
  std::vector<float> own;  // [outputs]: in place of the vector, which nothing else then changes; empty: not replaced
  bool changes() const {
    return !own.empty() || rank > 0 || !sparse_indices.empty() || !input_scale.empty() || !scale.empty() ||
           !bias.empty();
  }
};

// Writes the merged weight or bias, computed in fp32 and rounded once to the dtype of `to`.
// to: [outputs, inputs] or [outputs], on the CPU; from: the same shape in its own dtype, or null for zeros.
// Errors: ERR_SHAPE, ERR_ARGUMENT (indices), ERR_ABORTED.
void merge_linear(const Tensor& to, const Tensor* from, const LinearMerge& merge, const std::atomic<bool>& cancelled);

}  // namespace rubricate
