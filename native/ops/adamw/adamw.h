// AdamW as torch.optim.AdamW (Loshchilov and Hutter 2019).
//
//   p -= lr wd (p - target);  m += (1 - b1)(g - m);  v = b2 v + (1 - b2) g^2
//   p -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)
//
// All fp32. target is what decay pulls towards: 0, or 1 for a RED scale. g is multiplied by `grad_scale` first
// (clipping).
#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace rubricate {

// In double, as in torch: 1 - beta2 of a float would be off by one part in 80,000.
struct AdamWOptions {
  double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.0;
};

// step: 1 for the first update. parameters, grad, m, v: fp32, same shape; grad is not modified. decay_targets, if
// defined: same shape, the target of each element. An element's update depends only on that element. All tensors must
// be on the same device, which computes the update. Errors: ERR_ARGUMENT (step below 1, options out of range),
// ERR_SHAPE, ERR_DTYPE, ERR_FOREIGN (not on the same device); the same for the functions below.
void adamw_step(const Tensor& parameters, const Tensor& grad, const Tensor& m, const Tensor& v, int64_t step,
                const AdamWOptions& options, float decay_target, float grad_scale, const Tensor& decay_targets = {});

// Rounds an fp32 master to the weight that the model computes with: f32, bf16 or f16, same shape, to nearest even.
// Errors: ERR_SHAPE, ERR_DTYPE.
void round_to_weight(const Tensor& master, const Tensor& weight);

}  // namespace rubricate
