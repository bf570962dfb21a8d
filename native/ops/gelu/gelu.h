// GELU (Hendrycks & Gimpel 2016), in its two forms:
//
//   exact  y = x Phi(x), Phi(x) = (1 + erf(x / sqrt(2))) / 2               dx = g (Phi(x) + x phi(x))
//   tanh   y = x (1 + tanh(u)) / 2 = x s, u = sqrt(2 / pi) (x + 0.044715 x^3), s = sigmoid(2 u)
//                                                                          dx = g s (1 + x (1 - s) 2 u')
//
// phi(x) = e^(-x^2 / 2) / sqrt(2 pi); 2 u' = 2 sqrt(2 / pi) (1 + 3 * 0.044715 x^2). The second form is "gelu_new" and
// "gelu_pytorch_tanh" of transformers.
//
// x, y [T, f] f32 or bf16; fp32 inside, rounded once.
#pragma once

#include "autograd/tape.h"
#include "ops/gelu/gelu_kernels.h"

namespace rubricate {

// Errors: ERR_DTYPE, ERR_FOREIGN, ERR_ABORTED.
Var gelu(Tape& tape, const Var& x, GeluKind kind);

}  // namespace rubricate
