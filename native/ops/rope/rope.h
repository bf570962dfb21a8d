// Rotary position embedding (Su et al. 2021), in transformers' layout: component i of a head pairs with i + h.
//
//   y[i] = x[i] c - x[i + h] s,  y[i + h] = x[i + h] c + x[i] s
//   h = number of frequencies, at most head_dim / 2;  c, s = cos, sin(position * inv_freq[i])
//
// Components from 2 h on, if there are any, are not rotated (transformers' partial_rotary_factor). Backward is the rotation by the opposite angle. x, y [T, heads * head_dim], f32 or bf16 each; fp32 inside, y rounded
// once, and so is the gradient of x, to x's dtype.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "autograd/tape.h"
#include "base/mutex.h"

namespace rubricate {

class DeviceCopies;

// cos and sin of the positions below `positions`: fp32 [positions, half] each, half = the number of frequencies. Immutable.
struct RopeValues {
  int64_t half = 0, positions = 0;
  std::vector<float> cos, sin;

  // The values, cos then sin, on the tape's device: fp32 [2, positions, half]. Copied on first use; the copy lives as
  // long as the values. Thread-safe.
  Tensor on_device(const Tape& tape) const;
  int64_t host_bytes() const { return 2 * positions * half * static_cast<int64_t>(sizeof(float)); }
  int64_t device_bytes() const { return device_bytes_.load(); }

 private:
  mutable Mutex lock_;
  mutable std::vector<Tensor> copies_;  // one per stream
  mutable std::atomic<int64_t> device_bytes_{0};
};

// A context may be far longer than any sequence that is fed, so the table holds only the positions requested so far.
// Each time it grows at least to twice its positions, so that the total work stays proportional to them. The angle is
// the fp32 product position * inv_freq[i], as in transformers; `factor` multiplies cos and sin (attention_scaling). cos
// and sin are computed in double and rounded once. Copies share one table. Thread-safe.
class RopeTable {
 public:
  static constexpr int64_t kFirstPositions = 2048;  // size of the first step, unless the maximum is smaller

  // An empty table. positions: the maximum to which it may grow. head_dim: 0 for twice the number of frequencies. Throws
  // ERR_SHAPE if there is no frequency or no position, or head_dim is too small.
  static RopeTable make(std::vector<float> inv_freq, float factor, int64_t positions, int64_t head_dim = 0);

  int64_t half() const { return static_cast<int64_t>(state_->inv_freq.size()); }
  int64_t head_dim() const { return state_->head_dim; }
  int64_t positions() const { return state_->positions; }
  // Values for at least `needed` positions; they stay valid when the table grows. Throws std::bad_alloc, and leaves the
  // table unchanged then.
  std::shared_ptr<const RopeValues> covering(int64_t needed) const;
  // The current values, or null; does not wait for a table that is growing.
  std::shared_ptr<const RopeValues> current() const;

 private:
  struct State {
    std::vector<float> inv_freq;
    float factor = 1.0f;
    int64_t positions = 0, head_dim = 0;
    Mutex lock;
    std::shared_ptr<const RopeValues> values;
  };
  std::shared_ptr<State> state_;
};

// out: dtype of y, f32 or bf16. positions: int32 [T] on the host, each below table.positions(); the caller keeps them
// alive until backward has run. copies: those of the forward with these positions, or
// null. Errors: ERR_SHAPE, ERR_DTYPE, ERR_CONTEXT_LENGTH (a position outside the table), ERR_FOREIGN, ERR_ABORTED.
Var rope(Tape& tape, const Var& x, int64_t heads, const int32_t* positions, const RopeTable& table, DType out,
         const std::shared_ptr<DeviceCopies>& copies = nullptr);

}  // namespace rubricate
