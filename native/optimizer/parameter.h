// The parameters that an optimizer updates: fp32 masters with their gradients, in a fixed order. OptimizerState has the
// moments.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace rubricate {

struct Parameter {
  std::string name;           // canonical, such as "layers.0.mlp.down_proj.scale"
  Tensor master;              // fp32; the weight itself if it is stored in fp32
  Tensor grad;                // fp32, same shape
  float decay_target = 0.0f;  // weight decay pulls towards this value: 1 for a scale
  bool decays = true;
  std::function<void()> publish;  // after an update: rounds the master into a bf16 weight; may be empty
};

class ParameterSet {
 public:
  virtual ~ParameterSet() = default;
  virtual std::vector<Parameter>& parameters() = 0;
  virtual void changed() {}  // call after writing to masters
  // All parameters as one contiguous tensor, if they are contiguous and none has `publish`; otherwise `master` is
  // undefined. Its decay target and `decays` say nothing: those of parameters() count.
  virtual Parameter whole() { return {}; }
  void zero_grad();
  int64_t count();
};

}  // namespace rubricate
