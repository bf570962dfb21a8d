// What an adapter can do at a site (architecture/site.h). Adapters declare parts; edited_linear (model/edited_linear.h)
// composes them, at each of the seven sites:
//
//   x' = input_scale * x (by slot);  x' = input_steps(x');  x' = input(x');  y = x' W'^T + b, W' = weight(W);  y += branch(x);
//   y += factor * B (A x) (low_rank);  y += S x (sparse);  y += branch_steps(x);  y = output_steps(y);  y = scale * y + bias (affine);  y = output(y)
//
// output_steps precede affine, so that the edits of other slots in the batch stay fused and keep their roundings.
//
// At a norm of the model there is `own_norm` alone: each row's slot has its own weight and bias in place of the norm's.
//
// If the two sites that end a sub-layer have only `affine`, the block runs the fused op; anything else runs the same
// formula op by op, on the same tape.
#pragma once

#include <cstdint>
#include <functional>

#include "architecture/site.h"
#include "autograd/tape.h"
#include "autograd/weight.h"
#include "ops/low_rank/low_rank.h"
#include "ops/red_edit/red_edit.h"
#include "ops/shared/rows.h"
#include "ops/sparse_delta/sparse_delta.h"
#include "ops/steps/steps.h"

namespace rubricate {

struct SiteParts {
  SlotVectors input_scale;    // scales alone; no slots: x stays
  EditView input_scale_view;  // the same for inference, as `view`. Not both.
  std::function<Var(Tape&, const Var& x)> input;
  std::function<Weight(Tape&, const Weight& weight)> weight;
  std::function<Var(Tape&, const Var& x)> branch;
  LowRankSlots low_rank;                              // no slots: no update
  SparseSlots sparse;                                 // no slots: no update
  SlotSteps input_steps, branch_steps, output_steps;  // no slots: none
  SlotVectors affine;                                 // no slots: no edit
  EditView view;  // `affine` for inference: without gradients, checked before; no slots: no edit. Not both.
  std::function<Var(Tape&, const Var& y, const SequenceRows& rows)> output;
  SlotVectors own_norm;    // weight (as `scale`) and bias; undefined: the norm's own
  EditView own_norm_view;  // the same for inference, as `view`. Not both.
  bool trains = false;     // whether any part has a parameter that needs a gradient

  bool has_low_rank() const { return !low_rank.slots.empty(); }
  bool has_sparse() const { return !sparse.slots.empty(); }
  bool has_affine() const { return !affine.slots.empty(); }
  bool has_view() const { return view.slots > 0; }
  bool has_own_norm() const { return !own_norm.slots.empty(); }
  bool has_own_norm_view() const { return own_norm_view.slots > 0; }
  bool changes_input() const {
    return !input_scale.slots.empty() || input_scale_view.slots > 0 || input_steps.any() || input;
  }
};

// The adapters of one batch. Each sequence uses one slot; slot 0 is the base without edits.
class AdapterSet {
 public:
  virtual ~AdapterSet() = default;
  // The parts at a site, or null if there are none. layer: below site_layers().
  virtual const SiteParts* at(int64_t layer, Site site) const = 0;
  // Whether any part reads the embedding's output (mix_initial), which the forward then keeps.
  virtual bool mixes_initial() const { return false; }
  // Whether any parameter of this layer's block needs a gradient. A recomputed block must then run its backward pass even
  // if its input needs no gradient. A block computes the first norm of the next layer, not its own.
  bool trains(int64_t layer) const {
    for (const auto& [site, name] : kSiteNames) {
      const SiteParts* parts = at(site == Site::input_norm ? layer + 1 : layer, site);
      if (parts != nullptr && parts->trains) return true;
    }
    return false;
  }
};

}  // namespace rubricate
