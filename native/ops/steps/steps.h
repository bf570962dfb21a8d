// A list of steps applied to rows, each row by the steps of its sequence's slot: what a plan's `input`, `branch` and `output`
// do at a site (adapter/plan.h).
//
//   linear        v = v W^T                  W [out, in]
//   block_linear  v_b = v_b W_b^T            W [n, out, in], by slices of v
//   scale         v = by * v
//   affine        v = scale * v + bias       [width] each, one of them may be missing
//   residual      v = v + x                  x: what the list was given
//   activation    v = f(v)                   gelu, gelu_tanh, silu, relu, tanh
//   mix_initial   v = (1 - by) * v + by * h  h: the embedding's output of the row, which gets no gradient here
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

enum class StepKind : int32_t { linear = 0, block_linear, scale, affine, residual, activation, mix_initial };
inline constexpr std::array<Named<StepKind>, 7> kStepNames{{{StepKind::linear, "linear"},
                                                            {StepKind::block_linear, "block_linear"},
                                                            {StepKind::scale, "scale"},
                                                            {StepKind::affine, "affine"},
                                                            {StepKind::residual, "residual"},
                                                            {StepKind::activation, "activation"},
                                                            {StepKind::mix_initial, "mix_initial"}}};
// Whether a step is a linear function of what the list was given, plus a vector.
constexpr bool is_linear(StepKind kind) { return kind != StepKind::activation && kind != StepKind::mix_initial; }

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
  float by = 1.0f;  // of scale and mix_initial
  Activation activation = Activation::gelu;
};
using SiteSteps = std::vector<SiteStep>;

// One site's steps for each slot; null: none. Element 0 has none.
struct SlotSteps {
  std::vector<std::shared_ptr<const SiteSteps>> slots;
  bool any() const { return !slots.empty(); }
};

// y plus the steps of x, in rows whose slot has steps. x [T, inputs], y [T, outputs]: f32 or bf16. Reuses y's memory if nothing
// else has it. initial: what mix_initial mixes in, [T, width] f32 or bf16; undefined if no step does.
// Errors: ERR_SHAPE, ERR_DTYPE, ERR_ARGUMENT, ERR_FOREIGN, ERR_ABORTED.
Var add_steps(Tape& tape, Var y, const Var& x, const SlotSteps& slots, const SequenceRows& rows,
              const Tensor& initial = {});

// The steps of x, as wide as x, in rows whose slot has steps; the others are those of x. Errors: as above.
Var apply_steps(Tape& tape, const Var& x, const SlotSteps& slots, const SequenceRows& rows, const Tensor& initial = {});

}  // namespace rubricate
