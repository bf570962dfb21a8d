// The linear layers of a block, with an adapter's parts (adapter/parts.h).
#pragma once

#include <initializer_list>
#include <utility>
#include <vector>

#include "adapter/parts.h"
#include "autograd/tape.h"
#include "autograd/weight.h"
#include "model/norm.h"
#include "ops/shared/rows.h"

namespace rubricate {

struct LinearLayer {
  Weight weight;
  Var bias;  // fp32, or undefined
};

// A linear layer in one batch.
struct EditedLayer {
  const LinearLayer& layer;
  const SiteParts* parts;  // null: no parts
  DType out;               // dtype of the result
  Tensor initial{};        // the embedding's output of the rows; undefined if no part reads it
};

// Applies the layer to x, with all parts. Errors: those of linear(), and what the parts throw.
Var edited_linear(Tape& tape, const Var& x, const EditedLayer& at, const SequenceRows& rows);

// The same as edited_linear() of each layer; the values have the same bits. If no part changes the inputs of the matmuls, the
// matmuls run together (ops/linear/linear.h, linears).
std::vector<Var> edited_linears(Tape& tape, const Var& x, std::initializer_list<EditedLayer> layers,
                                const SequenceRows& rows);

// The end of a sub-layer: edited_linear() of its inner values, added to the residual stream, and the norm of the sum, `next`.
// The fused ops/edit_add_norm/edit_add_norm.h applies `affine`, unless an `output` part must run after it, and the norm,
// unless it is a LayerNorm.
std::pair<Var, Var> closing_linear(Tape& tape, Var inner, const EditedLayer& at, const Var& residual,
                                   const EditedNorm& next, const SequenceRows& rows);

}  // namespace rubricate
