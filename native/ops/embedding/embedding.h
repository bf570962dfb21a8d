// Token embedding: y[t] = W[token[t]], in the compute dtype. Backward: dW[token[t]] += g[t], t ascending, fp32.
#pragma once

#include <cstdint>

#include "autograd/tape.h"
#include "autograd/weight.h"

namespace rubricate {

// Errors: ERR_ARGUMENT (an id outside the vocabulary).
void check_tokens(const int32_t* tokens, int64_t count, int64_t vocabulary);

// tokens: int32 [T] on the host, 0 <= token < W.rows; the caller keeps them alive until backward has run. y [T, d].
// Errors: ERR_ARGUMENT (an id outside the vocabulary), ERR_DTYPE, ERR_ABORTED.
Var embedding(Tape& tape, const int32_t* tokens, int64_t count, const Weight& weight, DType out);

}  // namespace rubricate
