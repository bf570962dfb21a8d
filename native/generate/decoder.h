// One step of generation for several sequences: feeds each its new tokens and samples its next token.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "adapter/red_batch.h"
#include "model/kv_cache.h"
#include "model/model.h"
#include "ops/sampling/sampling.h"
#include "runtime/job_control.h"

namespace rubricate {

struct DecodeRequest {
  int32_t sequence = 0;                 // its id in the cache
  std::vector<int32_t> tokens;          // new tokens to feed; at least one
  std::shared_ptr<RedAdapter> adapter;  // null: the base
  SamplingOptions sampling;
};

class Decoder {
 public:
  // arena: holds keys and values, on the device that the model runs on.
  Decoder(std::shared_ptr<const Model> model, std::shared_ptr<Arena> arena);

  int32_t add_sequence();
  void remove_sequence(int32_t sequence);
  int32_t length(int32_t sequence) const { return cache_.length(sequence); }

  // Returns the next token of each sequence. Long inputs are fed in chunks of at most `chunk` rows, with a yield after
  // each; chunking does not change the result's bits. On an error nothing of this call stays in the cache. Errors:
  // ERR_CONTEXT_LENGTH, ERR_ARGUMENT, ERR_NOT_FINITE, ERR_ABORTED.
  std::vector<int32_t> step(const std::vector<DecodeRequest>& requests, int32_t chunk, const JobControl& control);

 private:
  void feed(const std::vector<int32_t>& sequences, const Batch& batch, const RedBatch& edits, const JobControl& control,
            const std::vector<size_t>& finished, const std::vector<DecodeRequest>& requests,
            std::vector<int32_t>& next);
  std::shared_ptr<const Model> model_;
  KvCache cache_;
  RedCopies copies_;
  std::vector<std::vector<int32_t>> history_;  // by sequence: all tokens fed so far
};

}  // namespace rubricate
