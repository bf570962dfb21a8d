// AdamW's moments for a set of parameters.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "optimizer/parameter.h"
#include "tensor/tensor.h"

namespace rubricate {

// Moments of a parameter set, in its order, fp32, on the same device as the masters; `step` counts updates.
//
// An adapter's moments are in CPU memory, like the adapter itself. The device that it is trained on keeps a copy from
// step to step, which is downloaded after each step: 2 MiB for a 7B model's adapter. So a checkpoint waits for no
// device, and training can resume on any device.
struct OptimizerState {
  explicit OptimizerState(ParameterSet& parameters);
  std::vector<Tensor> m, v;
  int64_t step = 0;
  bool half_updated = false;  // an error interrupted an update: parameters and moments belong to no step
  std::shared_ptr<Arena> arena;
  // Upper bounds of the absolute values of parameters and of m; below 0: unknown. native/train/update_check.h maintains
  // them.
  double value_bound = -1.0, moment_bound = 0.0;

  // For a flat set (ParameterSet::whole): its moments as flat tensors, and the value that weight decay pulls each
  // element to.
  struct Whole {
    Tensor m, v, decay_targets;
    bool defined() const { return m.defined(); }
    Whole copied_to(const std::shared_ptr<Arena>& there) const;
  };
  Whole whole;
  // `whole` for a step on that stream: its device copy, or itself on the CPU. May throw ERR_OUT_OF_MEMORY.
  const Whole& placed(const std::shared_ptr<Stream>& stream);
  // Places of elements of a flat set that are no longer trained, ascending: a step takes their gradient as 0 and leaves their
  // values as they are, whatever weight decay says. Their moments are 0.
  std::vector<int32_t> frozen;
  // Freezes these elements and no others, and clears their moments. Errors: ERR_ARGUMENT (a set that is not flat; places that do
  // not ascend, or are out of range).
  void freeze(std::vector<int32_t> places);
  // Of a norm that is added to the loss (train/nuclear_norm.h): its factor, 0 for none, a seed, and what the base adds to each element of the set.
  struct Nuclear {
    double factor = 0.0;
    uint64_t seed = 0;
    std::vector<float> base{};
  };
  Nuclear nuclear;
  // Call before a step writes to the result of placed(): the copy counts as invalid until fetch().
  void updating() { placed_is_whole_ = false; }
  // Call after the step: downloads the moments to `whole`, and waits for the device. Does nothing on the CPU.
  void fetch();
  // Call after writing to m and v from outside: invalidates the device copy, which the next placed() renews.
  void changed() {
    placed_is_whole_ = false;
    value_bound = -1.0;
  }

 private:
  Whole placed_;  // the device copy
  bool placed_is_whole_ = false;
};

}  // namespace rubricate
