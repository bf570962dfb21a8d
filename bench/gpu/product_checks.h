// Results of matmuls and attention compared with sums in double, at a few places, before they are timed. The operands are those
// of random_on_device() with the seeds that are given. All throw ERR_INTERNAL if a result differs.
#pragma once

#include "gpu/check.h"
#include "ops/attention/attention.h"
#include "ops/linear/linear_kernels.h"

namespace rubricate::bench {

// A: seed 1, B: seed 2.
void check_matmul(const Run& run, const char* what, const MatmulArgs& args, const Tensor& c);

// q, k, v and the gradient of the output: seeds 1 to 4, bf16, [rows, heads * head_dim] in sequences of `length`.
struct AttentionProblem {
  AttentionShape shape;
  int64_t rows = 0, length = 0;
};
void check_attention_forward(const Run& run, const AttentionProblem& problem, const Tensor& out);
// dq of some rows; dk and dv of some of the last keys of a sequence, which few rows see.
void check_attention_backward(const Run& run, const AttentionProblem& problem, const Tensor& dq, const Tensor& dk,
                              const Tensor& dv);

}  // namespace rubricate::bench
