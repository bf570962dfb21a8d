// The elementwise ops that adapters and custom losses need in addition to the fused ones.
// All: f32 or bf16, fp32 inside, rounded once. Errors: ERR_SHAPE, ERR_DTYPE, ERR_FOREIGN, ERR_ABORTED.
#pragma once

#include "autograd/tape.h"

namespace rubricate {

Var add(Tape& tape, const Var& a, const Var& b);       // same shape and dtype
Var multiply(Tape& tape, const Var& a, const Var& b);  // same shape and dtype
Var scale_by(Tape& tape, const Var& a, float factor);
Var silu(Tape& tape, const Var& a);
Var relu(Tape& tape, const Var& a);  // its slope at 0 is 0
Var tanh(Tape& tape, const Var& a);
Var sum(Tape& tape, const Var& a);                                       // fp32 [1]: rows of the last axis in order
Var mean_squared_error(Tape& tape, const Var& a, const Tensor& target);  // fp32 [1]
Var cast(Tape& tape, const Var& a, DType dtype);

}  // namespace rubricate
