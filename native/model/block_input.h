// The arguments that all blocks of one forward share.
#pragma once

#include "adapter/parts.h"
#include "model/edited_linear.h"
#include "ops/attention/attention.h"
#include "ops/rope/rope.h"

namespace rubricate {

// A recomputed block runs again in backward, so everything that is pointed to must live as long as the tape.
struct BlockInput {
  const int32_t* positions;  // [T]
  SequenceRows rows;
  const AdapterSet* adapters;  // null: no adapters
  const PagedKeys* cache;      // null: attention only within the batch
  const RopeTable* rope;       // null: q and k are not rotated
  Tensor initial{};            // the embedding's output [T, hidden]; undefined if no adapter reads it

  const SiteParts* parts(int64_t layer, Site site) const {
    return adapters != nullptr ? adapters->at(layer, site) : nullptr;
  }
  // A linear layer with the parts of its site.
  EditedLayer edited(const LinearLayer& linear, int64_t layer, Site site, DType out) const {
    return {linear, parts(layer, site), out, initial};
  }
};

}  // namespace rubricate
