// SwiGLU: y = silu(gate) * up, silu(x) = x / (1 + e^-x) (Shazeer 2020).
//
//   s = sigmoid(gate);  dup = g gate s;  dgate = g up s (1 + gate (1 - s))
//
// gate, up, y [T, f] f32 or bf16; fp32 inside, rounded once.
#pragma once

#include "autograd/tape.h"

namespace rubricate {

// Errors: ERR_SHAPE, ERR_DTYPE, ERR_FOREIGN, ERR_ABORTED.
Var swiglu(Tape& tape, const Var& gate, const Var& up);

}  // namespace rubricate
