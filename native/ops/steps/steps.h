// A list of steps applied to rows, each row by the steps of its sequence's slot: what a plan's `input`, `branch` and `output`
// do at a site (adapter/plan.h).
//
//   linear        v = v W^T                  W [out, in]
//   block_linear  v_b = v_b W_b^T            W [n, out, in], by slices of v
//   scale         v = by * v
//   affine        v = scale * v + bias       [width] each, one of them may be missing
//   residual      v = v + x                  x: what the list was given
//   activation    v = f(v)                   gelu, gelu_tanh, silu, relu, tanh
//
// x is widened to fp32, all steps compute in fp32, and the result is rounded once. Only rows of slots with steps are read and
// written, so rows of others keep their bits, and those of their gradients. A row has the same bits alone and among rows
// of other slots, and so have the gradients of parameters: of matrices one chain over the slot's rows in their order (with
// our own matmul), of vectors sums by sequence as in red_edit.
//
// The backward computes the steps of a slot's rows again, since they are narrow: only x is kept.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "autograd/tape.h"
#include "base/named.h"
#include "ops/shared/rows.h"

namespace rubricate {

enum class StepKind : int32_t { linear = 0, block_linear, scale, affine, residual, activation };
inline constexpr std::array<Named<StepKind>, 6> kStepNames{{{StepKind::linear, "linear"},
                                                            {StepKind::block_linear, "block_linear"},
                                                            {StepKind::scale, "scale"},
                                                            {StepKind::affine, "affine"},
                                                            {StepKind::residual, "residual"},
                                                            {StepKind::activation, "activation"}}};

enum class Activation : int32_t { gelu = 0, gelu_tanh, silu, relu, tanh };
inline constexpr std::array<Named<Activation>, 5> kActivationNames{{{Activation::gelu, "gelu"},
                                                                    {Activation::gelu_tanh, "gelu_tanh"},
                                                                    {Activation::silu, "silu"},
                                                                    {Activation::relu, "relu"},
                                                                    {Activation::tanh, "tanh"}}};

struct SiteStep {
  StepKind kind = StepKind::residual;
  Var weight;       // of the linear ones; without a slot: frozen
  Var scale, bias;  // of affine
  float by = 1.0f;  // of scale
  Activation activation = Activation::gelu;
};
using SiteSteps = std::vector<SiteStep>;

// One site's steps for each slot; null: none. Element 0 has none.
struct SlotSteps {
  std::vector<std::shared_ptr<const SiteSteps>> slots;
  bool any() const { return !slots.empty(); }
};

// y plus the steps of x, in rows whose slot has steps. x [T, inputs], y [T, outputs]: f32 or bf16. Reuses y's memory if nothing
// else has it. Errors: ERR_SHAPE, ERR_DTYPE, ERR_ARGUMENT, ERR_FOREIGN, ERR_ABORTED.
Var add_steps(Tape& tape, Var y, const Var& x, const SlotSteps& slots, const SequenceRows& rows);

// The steps of x, as wide as x, in rows whose slot has steps; the others are those of x. Errors: as above.
Var apply_steps(Tape& tape, const Var& x, const SlotSteps& slots, const SequenceRows& rows);

}  // namespace rubricate
