// Which rows the next step computes. Times decide only how many rows of prompts go beside those that decode, never a
// result.
#pragma once

#include <cstdint>
#include <vector>

#include "architecture/architecture.h"

namespace rubricate {

// What a row of a prompt costs that is scored, compared with one that is not: the multiplications of its blocks and of the
// head, by those of its blocks. (Those of attention with earlier positions are left out.)
double score_cost(const Architecture& architecture);

// Smoothed times of steps, in nanoseconds.
class StepTimes {
 public:
  // decoding: rows of sequences that decode; prompt: rows of prompts, of which one that is scored counts as score_cost.
  void add(int64_t decoding, double prompt, int64_t ns);
  // How many rows of prompts that are not scored fit beside the decoding ones in a step of that length: kLeastChunk to kMostChunk, and
  // kMostChunk if nothing decodes.
  int64_t chunk(int64_t decoding, int64_t step_ns) const;

  static constexpr int64_t kLeastChunk = 16, kMostChunk = 256;

 private:
  double decode_ns_ = 0.0;  // of the decoding rows of a step; 0: unknown
  double row_ns_ = 0.0;     // of a row of a prompt; 0: unknown
};

// A sequence that could compute rows in the next step.
struct Runnable {
  int64_t pending = 0;  // tokens that are not computed yet, at least 1; 1: it decodes
  int32_t group = 0;    // sequences of different groups may not share a step
  // Of the pending tokens of a prompt those whose rows are scored, from the first up to before the last.
  int64_t score_begin = 0, score_end = 0;
};

// The rows of the next step for each of `runnable`, which are in order of preference: one row for each that decodes, then
// chunks of prompts up to `chunk` rows, all of group `group`, and at most `most` rows in total. A row that is scored counts
// as `score_cost` rows of the chunk, which has one row at least.
std::vector<int64_t> planned_rows(const std::vector<Runnable>& runnable, int32_t group, int64_t chunk, int64_t most,
                                  double score_cost = 1.0);

// The group of the next step: the one after `last` that any runnable sequence is of, so that groups alternate.
int32_t next_group(const std::vector<Runnable>& runnable, int32_t last);

}  // namespace rubricate
