// AdamW's moments of a set of parameters.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "optimizer/parameter.h"
#include "tensor/tensor.h"

namespace rubricate {

// Moments of a parameter set, in its order, fp32, where its masters are; `step` counts the updates made.
//
// An adapter's are the CPU's, like all of it, and what it is trained on has a copy, which stays there from step to step
// and is brought home after each: 2 MiB for a 7B model's adapter. So a checkpoint waits for no device, and an adapter
// goes on anywhere.
struct OptimizerState {
  explicit OptimizerState(ParameterSet& parameters);
  std::vector<Tensor> m, v;
  int64_t step = 0;
  bool half_updated = false;  // an error ended an update in its midst: parameters and moments are of no step
  std::shared_ptr<Arena> arena;
  // No parameter, and no element of m, is larger than these; below 0: not known. native/train/update_check.h keeps them.
  double largest_value = -1.0, largest_moment = 0.0;

  // Of a set that is one whole (ParameterSet::whole): its moments end to end, and what decay pulls each number to.
  struct Whole {
    Tensor m, v, decay_targets;
    bool defined() const { return m.defined(); }
    Whole copied_to(const std::shared_ptr<Arena>& there) const;
  };
  Whole whole;
  // `whole` for a step that computes with that stream: itself on the CPU. May throw ERR_OUT_OF_MEMORY.
  const Whole& placed(const std::shared_ptr<Stream>& stream);
  // Call before a step writes to what placed() gave: until fetch(), the copy counts as unfinished.
  void updating() { placed_is_whole_ = false; }
  // Call after the step: copies the moments from the device to `whole`, and waits for it. Does nothing on the CPU.
  void fetch();
  // Call after writing to m and v from elsewhere: the next placed() copies them to the device again.
  void changed() {
    placed_is_whole_ = false;
    largest_value = -1.0;
  }

 private:
  Whole placed_;  // the copy on a device
  bool placed_is_whole_ = false;
};

}  // namespace rubricate
