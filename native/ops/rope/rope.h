// Rotary position embedding (Su et al. 2021), in transformers' layout: component i of a head pairs with i + head_dim
// / 2.
//
//   y[i] = x[i] c - x[i + h] s,  y[i + h] = x[i + h] c + x[i] s,  h = head_dim / 2, c, s = cos, sin(position *
//   inv_freq[i])
//
// Backward is the rotation by the opposite angle. x, y [T, heads * head_dim], f32 or bf16 each; fp32 inside, y rounded
// once, and so is the gradient of x, to x's dtype.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "autograd/tape.h"
#include "base/mutex.h"

namespace rubricate {

// cos and sin of every position below `positions`: fp32 [positions, head_dim / 2] each. The angle is the fp32 product
// position * inv_freq[i], as in transformers; `factor` multiplies both (attention_scaling). Cosine and sine are taken
// in double and rounded once. Throws ERR_SHAPE where there is no frequency or no position.
struct RopeTable {
  int64_t half = 0;
  int64_t positions = 0;
  std::vector<float> cos, sin;
  static RopeTable make(const std::vector<float>& inv_freq, float factor, int64_t positions);

  // The table, cos then sin, in the memory of the tape's device: fp32 [2, positions, half]. Copied there on first use;
  // the copy stays as long as the table does. Thread-safe.
  Tensor on_device(const Tape& tape) const;

 private:
  struct Copies {
    Mutex lock;
    std::vector<Tensor> tensors;  // one for each stream
  };
  std::shared_ptr<Copies> copies_ = std::make_shared<Copies>();
};

// out: dtype of y, f32 or bf16. positions: int32 [T] on the host, each below table.positions; the caller keeps them and
// the table alive until backward has run. head_dim is 2 * table.half. Errors: ERR_SHAPE, ERR_DTYPE, ERR_CONTEXT_LENGTH
// (a position is beyond the table), ERR_FOREIGN, ERR_ABORTED.
Var rope(Tape& tape, const Var& x, int64_t heads, const int32_t* positions, const RopeTable& table, DType out);

}  // namespace rubricate
