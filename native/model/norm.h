// The norms of a model: before each sub-layer and before the head.
#pragma once

#include <string>

#include "adapter/parts.h"
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
};

// A norm in one batch.
struct EditedNorm {
  const Norm& norm;
  const SiteParts* parts;  // null: no row has its own weight or bias

  Var operator()(Tape& tape, const Var& x, const SequenceRows& rows) const;
};

}  // namespace rubricate
