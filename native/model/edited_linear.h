// The linear layers of a block, with what an adapter does there (adapter/parts.h).
#pragma once

#include <initializer_list>
#include <utility>
#include <vector>

#include "adapter/parts.h"
#include "autograd/tape.h"
#include "autograd/weight.h"
#include "ops/edit_add_norm/edit_add_norm.h"
#include "ops/shared/rows.h"

namespace rubricate {

struct LinearLayer {
  Weight weight;
  Var bias;  // fp32, or undefined
};

// A layer in one batch.
struct EditedLayer {
  const LinearLayer& layer;
  const SiteParts* parts;  // null: none
  DType out;               // dtype of the result
};

// The layer of x with all parts. Errors: as linear(), and what the parts throw.
Var edited_linear(Tape& tape, const Var& x, const EditedLayer& at, const SequenceRows& rows);

// edited_linear() of each layer, with the same bits. Where no part changes what goes into the products, the products
// run together (ops/linear/linear.h, linears).
std::vector<Var> edited_linears(Tape& tape, const Var& x, std::initializer_list<EditedLayer> layers,
                                const SequenceRows& rows);

// The end of a sub-layer: edited_linear() of its inner values, added to the residual stream, and the norm of the sum.
// The fused ops/edit_add_norm/edit_add_norm.h applies `affine`, unless an `output` part comes after it.
std::pair<Var, Var> closing_linear(Tape& tape, Var inner, const EditedLayer& at, const Var& residual,
                                   const SumNorm& norm, const SequenceRows& rows);

}  // namespace rubricate
