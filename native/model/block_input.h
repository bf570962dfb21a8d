// What the blocks of a model share in one forward.
#pragma once

#include "adapter/parts.h"
#include "model/kv_cache.h"
#include "ops/rope/rope.h"

namespace rubricate {

// A recomputed block runs again in backward: what is pointed to lives as long as the tape.
struct BlockInput {
  const int32_t* positions;  // [T]
  SequenceRows rows;
  const AdapterSet* adapters;  // null: none
  KvCache* cache;              // null: attention within the batch
  const RopeTable& rope;

  const SiteParts* parts(int64_t layer, Site site) const {
    return adapters != nullptr ? adapters->at(layer, site) : nullptr;
  }
};

}  // namespace rubricate
