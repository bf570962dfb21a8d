// AdamW as torch.optim.AdamW (Loshchilov and Hutter 2019), and the global gradient norm with clipping as
// torch.nn.utils.clip_grad_norm_.
//
//   p -= lr wd (p - target);  m += (1 - b1)(g - m);  v = b2 v + (1 - b2) g^2
//   p -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)
//
// All fp32. target is what decay pulls towards: 0, or 1 for a RED scale. g is multiplied by `grad_scale` first
// (clipping).
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

namespace rubricate {

struct AdamWOptions {
  float learning_rate = 1e-3f, beta1 = 0.9f, beta2 = 0.999f, eps = 1e-8f, weight_decay = 0.0f;
};

// step: 1 for the first update. parameters, grad, m, v: fp32, same count.
void adamw_step(const Tensor& parameters, const Tensor& grad, const Tensor& m, const Tensor& v, int64_t step,
                const AdamWOptions& options, float decay_target, float grad_scale);

// sqrt of the sum of squares over all tensors: double sums per block of 4,096 elements, blocks in order. NaN and
// infinity come through.
double gradient_norm(const std::vector<Tensor>& grads);
// min(1, max_norm / (norm + 1e-6)).
float clip_factor(double norm, double max_norm);

}  // namespace rubricate
