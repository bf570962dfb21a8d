// The norms of a model: before each sub-layer and before the head.
#pragma once

#include <string>

#include "architecture/architecture.h"
#include "autograd/tape.h"

namespace rubricate {

class WeightLoader;

struct Norm {
  bool layer = false;  // LayerNorm; otherwise RMSNorm
  Var weight;          // fp32 [hidden]
  Var bias;            // fp32 [hidden], of LayerNorm alone
  float eps = 0.0f;

  // name: without ".weight".
  static Norm load(const WeightLoader& weights, const Architecture& architecture, const std::string& name);
  Var operator()(Tape& tape, const Var& x) const;
};

}  // namespace rubricate
