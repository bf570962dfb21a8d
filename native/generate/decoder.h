// One step of generation for several sequences at once: feed each its new tokens, sample each its next one.
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
  int32_t sequence = 0;                 // id in the cache
  std::vector<int32_t> tokens;          // to feed; at least one
  std::shared_ptr<RedAdapter> adapter;  // null: the base
  SamplingOptions sampling;
};

class Decoder {
 public:
  // arena: of keys and values, where the model computes.
  Decoder(std::shared_ptr<const Model> model, std::shared_ptr<Arena> arena);

  int32_t add_sequence();
  void remove_sequence(int32_t sequence);
  int32_t length(int32_t sequence) const { return cache_.length(sequence); }

  // Returns each sequence's next token. Long inputs are fed in chunks of at most `chunk` rows, with a yield between;
  // the chunking changes no bit of the result. On an error nothing of this call stays in the cache. Errors:
  // ERR_CONTEXT_LENGTH, ERR_ARGUMENT, ERR_NOT_FINITE, ERR_ABORTED.
  std::vector<int32_t> step(const std::vector<DecodeRequest>& requests, int32_t chunk, const JobControl& control);

 private:
  void feed(const std::vector<int32_t>& sequences, const Batch& batch, const RedBatch& edits, const JobControl& control,
            const std::vector<size_t>& finished, const std::vector<DecodeRequest>& requests,
            std::vector<int32_t>& next);
  std::shared_ptr<const Model> model_;
  KvCache cache_;
  RedCopies copies_;
  std::vector<std::vector<int32_t>> history_;  // by sequence: every token fed so far
};

// Logits of every row of a batch (or of the given rows), fp32 [rows, vocabulary], in the CPU's memory.
Tensor forward_logits(const Model& model, const Batch& batch, const std::vector<std::shared_ptr<RedAdapter>>& adapters,
                      const std::vector<int32_t>& rows, const JobControl& control);

}  // namespace rubricate
