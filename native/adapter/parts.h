// What an adapter can do at a site (architecture/site.h). Adapters declare parts; edited_linear (model/edited_linear.h)
// composes them, at each of the seven sites:
//
//   x' = input(x);  y = x' W'^T + b, W' = weight(W);  y += branch(x);  y = scale * y + bias (affine);  y = output(y)
//
// With `affine` alone at the two sites that close a sub-layer the block runs the fused close; anything else runs the
// same mathematics op by op, on the same tape.
#pragma once

#include <cstdint>
#include <functional>

#include "architecture/site.h"
#include "autograd/tape.h"
#include "autograd/weight.h"
#include "ops/red_edit/red_edit.h"
#include "ops/shared/rows.h"

namespace rubricate {

struct SiteParts {
  std::function<Var(Tape&, const Var& x)> input;
  std::function<Weight(Tape&, const Weight& weight)> weight;
  std::function<Var(Tape&, const Var& x)> branch;
  EditSlots affine;  // no slots: none
  std::function<Var(Tape&, const Var& y, const SequenceRows& rows)> output;
  bool trains = false;  // whether any of the parts reaches a parameter that needs a gradient

  bool has_affine() const { return !affine.slots.empty(); }
};

// The adapters of one batch. Every sequence names its slot; slot 0 is the base, unedited.
class AdapterSet {
 public:
  virtual ~AdapterSet() = default;
  // The parts at a site, or null where nothing acts.
  virtual const SiteParts* at(int64_t layer, Site site) const = 0;
  // Whether anything in this layer needs a gradient: a recomputed block must then run backward even if its input does
  // not.
  bool trains(int64_t layer) const {
    for (int i = 0; i < kSites; ++i) {
      const SiteParts* parts = at(layer, static_cast<Site>(i));
      if (parts != nullptr && parts->trains) return true;
    }
    return false;
  }
};

}  // namespace rubricate
