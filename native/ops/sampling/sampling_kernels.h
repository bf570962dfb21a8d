// Sampling's arithmetic, which the CPU and devices share, and the arguments of its kernels.
//
// A token's weight is its probability up to a common factor, as an integer: 2^bits for the most likely one. So sums of
// weights are exact in any order, and every device draws the same token. The exponential uses fp32 operations that
// IEEE 754 rounds the same everywhere, none of them fused.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define RUBRICATE_EVERYWHERE __host__ __device__
#else
#define RUBRICATE_EVERYWHERE
#endif

namespace rubricate {

using FixedProb =
    unsigned long long;  // fixed-point probability up to a common factor, or a sum of them; 64 bits, as atomics need

// The largest number of bits for which a vocabulary of maximal weights stays below 2^62.
inline int32_t weight_bits(int64_t vocabulary) {
  int32_t width = 0;
  while (vocabulary >> width > 0) ++width;
  return 62 - width;
}

// e^((score - max_score) / temperature) 2^bits, with relative error 2^-22, truncated to an integer. score <= max_score;
// -inf gives 0. Cephes' expf (Moshier 1992): x = n ln 2 + r, and a polynomial of degree 5 for e^r.
RUBRICATE_EVERYWHERE inline FixedProb sampling_weight(float score, float max_score, float temperature, int32_t bits) {
  const float x = (score - max_score) / temperature;
  if (!(x > -44.0f)) return 0;                                    // e^-44 < 2^-63
  const float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;  // 1.5 2^23: rounds to an integer
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;   // ln 2 in two parts, the first of 9 bits
  float y = 1.9875691500e-4f;
  y = y * r + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * (r * r) + r + 1.0f;  // 0.7 to 1.42: 24 bits after the binary point
  const auto mantissa = static_cast<FixedProb>(y * 16777216.0f);
  const int32_t shift = bits - 24 + static_cast<int32_t>(n);
  return shift >= 0 ? mantissa << shift : mantissa >> -shift;
}

// The mass that top-p's tokens must reach, at least 1. And the draw: the lowest id whose cumulative mass exceeds it
// wins.
RUBRICATE_EVERYWHERE inline FixedProb mass_enough(double top_p, FixedProb total) {
  const double share = top_p * static_cast<double>(total);
  const auto whole = static_cast<FixedProb>(share);
  return static_cast<double>(whole) < share ? whole + 1 : whole;
}
RUBRICATE_EVERYWHERE inline FixedProb mass_drawn(double uniform, FixedProb total) {
  const auto drawn = static_cast<FixedProb>(uniform * static_cast<double>(total));
  return drawn < total ? drawn : total - 1;
}

// Orders floats as unsigned integers, -0 as 0; a NaN may have any position.
RUBRICATE_EVERYWHERE inline uint32_t ordered_key(float score) {
  const float canonical = score + 0.0f;
  uint32_t bits;
  memcpy(&bits, &canonical, sizeof bits);
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
}
RUBRICATE_EVERYWHERE inline float score_of_key(uint32_t key) {
  const uint32_t bits = key >> 31 != 0 ? key & 0x7fffffffu : ~key;
  float score;
  memcpy(&score, &bits, sizeof score);
  return score;
}

// A row's options, with values that the host computes.
struct SamplingRow {
  float temperature = 0.0f;
  int32_t top_k = 0;           // 0: off; else below the vocabulary
  double top_p = 1.0;          // 1: off
  FixedProb least_weight = 0;  // minimum weight for min-p; 0: off
  double uniform = 0.0;        // random number of the draw
};
// A change of one logit: by a logit bias, or by the penalties.
struct SamplingChange {
  int32_t row = 0, id = 0;
  float added = 0.0f, repetition = 1.0f, subtracted = 0.0f;
};
RUBRICATE_EVERYWHERE inline float changed_score(float score, const SamplingChange& change) {
  score = score + change.added;
  score = score < 0.0f ? score * change.repetition : score / change.repetition;
  return score - change.subtracted;
}

constexpr int64_t kSampleChunk = 4096;  // logits that a block loads at a time
constexpr int64_t kSampleBins = 256;    // values of 8 bits of a key; also the maximum parts of a row
constexpr int64_t kSamplePasses = 4;
constexpr int64_t kSampleHistograms = 2 * kSamplePasses * kSampleBins;  // per row: for top-k, then for top-p

// Number of logits in a part of a row, which one block processes: whole chunks.
inline int64_t sample_part(int64_t vocabulary) {
  return (vocabulary + kSampleBins * kSampleChunk - 1) / (kSampleBins * kSampleChunk) * kSampleChunk;
}
inline int64_t sample_parts(int64_t vocabulary) {
  return (vocabulary + sample_part(vocabulary) - 1) / sample_part(vocabulary);
}

struct SamplingBest {
  FixedProb key_and_id = 0;  // the largest key, above ~id: so the lowest id wins among equal keys
  FixedProb invalid = 0;     // nonzero if a logit is NaN or +inf
};
struct SamplingPart {
  FixedProb above = 0, ties = 0;  // mass above the threshold; number of tokens at it
};

// "sample/2". Writes changed scores into the logits.
struct SampleArgs {
  int64_t rows = 0, vocabulary = 0, part = 0, parts = 0;
  float* logits = nullptr;                  // [rows, vocabulary]
  const SamplingRow* options = nullptr;     // [rows]
  const SamplingChange* changes = nullptr;  // [biased + penalised]: each of the biased ids once, then of the penalised
  int64_t biased = 0, penalised = 0;
  int32_t bits = 0;   // weight_bits(vocabulary)
  int32_t draws = 0;  // whether any row has a temperature above 0, and whether any of those has top-k or top-p
  int32_t top_k = 0, top_p = 0;
  SamplingBest* bests = nullptr;     // [rows], zeros
  FixedProb* histograms = nullptr;   // [rows, kSampleHistograms], zeros; null unless a draw uses top-k or top-p
  SamplingPart* in_parts = nullptr;  // [rows, parts]; null if nothing is drawn
  int32_t* ids = nullptr;            // [rows]; -1: a logit is NaN or +inf, or all are -inf
};

// The workspace of such a call: offsets of its arrays, and the size of its first part, which must be zeroed.
struct SamplePlan {
  SamplePlan(int64_t rows, int64_t vocabulary, bool draws, bool narrows)
      : histograms(rows * static_cast<int64_t>(sizeof(SamplingBest))),
        in_parts(histograms + (narrows ? rows * kSampleHistograms * static_cast<int64_t>(sizeof(FixedProb)) : 0)),
        ids(in_parts + (draws ? rows * sample_parts(vocabulary) * static_cast<int64_t>(sizeof(SamplingPart)) : 0)),
        bytes(ids + rows * static_cast<int64_t>(sizeof(int32_t))) {}
  int64_t histograms, in_parts, ids, bytes;
  int64_t zeros() const { return in_parts; }
};

}  // namespace rubricate
