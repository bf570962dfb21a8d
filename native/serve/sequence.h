// A request under way, as an engine's turns see it.
#pragma once

#include <cstdint>
#include <vector>

#include "model/kv_pool.h"
#include "ops/sampling/token_counts.h"
#include "serve/request.h"

namespace rubricate {

struct Sequence {
  int32_t id = 0;
  EngineRequest request;
  std::vector<int32_t> tokens;  // of the prompt, then those generated
  TokenCounts counts;           // of the tokens, if the sampling needs them
  KvSequence keys;              // keys.length of the tokens are computed
  int64_t prompt = 0;           // tokens of the prompt
  int64_t to_score = 0;         // the first token of the prompt whose log-probability is still wanted; `prompt`: none
  int32_t generated = 0;
  int64_t taken = 0;      // generated tokens that the reader has taken
  uint64_t arrival = 0;   // ascending in the order of arrival
  int32_t group = 0;      // sequences of different groups do not share a step
  int64_t last_step = 0;  // the number of the last step that it took part in
  bool running = false;   // it has pages
  bool started = false;   // it ran before
  bool parked = false;    // it was put out while it was paused: it waits for its reader, not for a place

  // Tokens that are to be computed. Without tokens to generate nothing follows the last one.
  int64_t length() const { return static_cast<int64_t>(tokens.size()) - (request.max_new == 0 ? 1 : 0); }
  int64_t pending() const { return length() - keys.length; }
  // Tokens whose keys and values may come from another sequence: what gives logits that are wanted is computed.
  int64_t shareable() const { return (to_score < prompt ? to_score : static_cast<int64_t>(tokens.size())) - 1; }
  bool paused(int32_t ahead) const { return generated - taken >= ahead; }
};

}  // namespace rubricate
