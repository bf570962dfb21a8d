#include "model/edited_linear.h"

#include <algorithm>

#include "ops/edit_add_norm/edit_add_norm.h"
#include "ops/elementwise/elementwise.h"
#include "ops/linear/linear.h"
#include "ops/red_edit/red_edit.h"

namespace rubricate {
namespace {

const SiteParts& parts_of(const EditedLayer& at) {
  static const SiteParts none;
  return at.parts != nullptr ? *at.parts : none;
}

// y += factor * B (A x) (low_rank);  y += S x (sparse);  y += branch_steps(x);  y = output_steps(y)
Var updated(Tape& tape, Var y, const Var& x, const EditedLayer& at, const SequenceRows& rows) {
  const SiteParts& parts = parts_of(at);
  if (parts.has_low_rank()) y = add_low_rank(tape, std::move(y), x, parts.low_rank, rows);
  if (parts.has_sparse()) y = add_sparse(tape, std::move(y), x, parts.sparse, rows);
  if (parts.branch_steps.any()) y = add_steps(tape, std::move(y), x, parts.branch_steps, rows, at.initial);
  if (parts.output_steps.any()) y = apply_steps(tape, y, parts.output_steps, rows, at.initial);
  return y;
}

// y = scale * y + bias (affine);  y = output(y)
Var edited(Tape& tape, Var y, const SiteParts& parts, const SequenceRows& rows) {
  if (parts.has_affine()) y = red_edit(tape, y, parts.affine, rows);
  if (parts.has_view()) y = red_edit(tape, y.value(), parts.view, rows);
  if (parts.output) y = parts.output(tape, y, rows);
  return y;
}

// x' = input_scale * x;  x' = input_steps(x');  x' = input(x')
Var changed_input(Tape& tape, Var x, const EditedLayer& at, const SequenceRows& rows) {
  const SiteParts& parts = parts_of(at);
  if (!parts.input_scale.slots.empty()) x = red_edit(tape, x, parts.input_scale, rows);
  if (parts.input_scale_view.slots > 0) x = red_edit(tape, x.value(), parts.input_scale_view, rows);
  if (parts.input_steps.any()) x = apply_steps(tape, x, parts.input_steps, rows, at.initial);
  if (parts.input) x = parts.input(tape, x);
  return x;
}

// y = x' W'^T + b, W' = weight(W);  y += branch(x)
Var unedited_linear(Tape& tape, const Var& x, const EditedLayer& at, const SequenceRows& rows) {
  const auto& [weight, bias] = at.layer;
  const SiteParts& parts = parts_of(at);
  const Var input = changed_input(tape, x, at, rows);
  Var y = parts.weight ? linear(tape, input, parts.weight(tape, weight), bias, at.out)
                       : linear(tape, input, weight, bias, at.out);
  if (parts.branch) y = add(tape, y, cast(tape, parts.branch(tape, x), at.out));
  return y;
}

bool is_plain(const EditedLayer& at) {
  const SiteParts& parts = parts_of(at);
  return !parts.changes_input() && !parts.weight && !parts.branch;
}

SumNorm sum_norm_of(const EditedNorm& next) {
  SumNorm of{next.norm.weight, next.norm.eps};
  if (next.parts != nullptr && next.parts->has_own_norm()) of.slots = &next.parts->own_norm;
  if (next.parts != nullptr && next.parts->has_own_norm_view()) of.view = &next.parts->own_norm_view;
  return of;
}

}  // namespace

Var edited_linear(Tape& tape, const Var& x, const EditedLayer& at, const SequenceRows& rows) {
  const SiteParts& parts = parts_of(at);
  return edited(tape, updated(tape, unedited_linear(tape, x, at, rows), x, at, rows), parts, rows);
}

std::vector<Var> edited_linears(Tape& tape, const Var& x, std::initializer_list<EditedLayer> layers,
                                const SequenceRows& rows) {
  std::vector<Var> results;
  // The matmuls are recorded before the other parts both ways: the backward pass adds the gradients of x in that order, so
  // that a row has the same bits whether another slot's adapter scales its input or not.
  if (std::all_of(layers.begin(), layers.end(), is_plain)) {
    std::vector<Linear> together;
    for (const EditedLayer& at : layers) together.push_back({at.layer.weight, at.layer.bias, at.out});
    results = linears(tape, x, together);
  } else {
    for (const EditedLayer& at : layers) results.push_back(unedited_linear(tape, x, at, rows));
  }
  auto result = results.begin();
  for (const EditedLayer& at : layers) {
    const SiteParts& parts = parts_of(at);
    *result = edited(tape, updated(tape, std::move(*result), x, at, rows), parts, rows);
    ++result;
  }
  return results;
}

std::pair<Var, Var> closing_linear(Tape& tape, Var inner, const EditedLayer& at, const Var& residual,
                                   const EditedNorm& next, const SequenceRows& rows) {
  const SiteParts& parts = parts_of(at);
  const bool fused = (parts.has_affine() || parts.has_view()) && !parts.output;
  Var h = updated(tape, unedited_linear(tape, inner, at, rows), inner, at, rows);
  inner = {};  // frees memory that edit_add_norm can reuse
  if (!fused) h = edited(tape, std::move(h), parts, rows);
  const SumNorm sum_norm = next.norm.layer ? SumNorm() : sum_norm_of(next);
  std::pair<Var, Var> ends = fused && parts.has_view()
                                 ? edit_add_norm(tape, h.value(), residual.value(), parts.view, rows, sum_norm)
                                 : edit_add_norm(tape, h, residual, fused ? &parts.affine : nullptr, rows, sum_norm);
  if (next.norm.layer) ends.second = next(tape, ends.first, rows);
  return ends;
}

}  // namespace rubricate
