// The base's matrices, for derived values that are made of them (adapter/derived.h).
#pragma once

#include <cstdint>

#include "architecture/site.h"
#include "autograd/weight.h"

namespace rubricate {

class BaseWeights {
 public:
  virtual ~BaseWeights() = default;
  // Of a linear layer that the model has: [outputs, inputs], frozen, in the memory where the model computes.
  virtual const Weight& linear_weight(int64_t layer, Site site) const = 0;
};

}  // namespace rubricate
