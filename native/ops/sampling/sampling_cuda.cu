// Sampling (sampling.h) of many rows of logits, so that a step of decoding downloads only token ids.
//
// A row is spread over blocks, usually 4,096 logits each. Keys order logits as integers. The k-th largest, and the
// least likely token that top-p keeps, are found 8 bits of the key at a time (radix select): a pass counts tokens, or
// sums their weights, by the next 8 bits of the keys that match so far, and every block of the next pass reads the
// row's 256 sums to find which keys match. Then the mass of each part is summed, and one block draws.
//
// Bytes: 4 per logit for the largest (all there is with a temperature of 0), and 4 for each of the 4 passes of top-k,
// the 4 of top-p and the sum of the parts; the first from memory, the others from the L2 cache (512 KiB for a
// vocabulary of 128 Ki); 16 KiB of sums per row; 4 bytes per row are downloaded. About 30 operations per weight.
// Launches: 2, with a temperature 3, plus 4 each for top-k and top-p; 1 for biases, 1 for penalties.
//
// Only integers are added, so neither atomics nor the order of blocks change the bits.
#include "ops/sampling/sampling_kernels.h"
#include "ops/shared/rows.cuh"

namespace rubricate::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kValues = 4;  // of fp32 in 16 bytes
constexpr int kEach = static_cast<int>(kSampleChunk) / kThreads;
constexpr FixedProb kAll = ~FixedProb{0};
static_assert(kThreads == kSampleBins);

// Shared memory through which a block's threads exchange sums and results.
struct BlockScratch {
  FixedProb sums[kThreads / kWarpSize];
  FixedProb rest, before;
  int32_t bin;
};

struct Scan {
  FixedProb upto, total;  // over the threads up to this one, and over all
};
__device__ __forceinline__ Scan scan(FixedProb x, BlockScratch& scratch) {
#pragma unroll
  for (int delta = 1; delta < kWarpSize; delta *= 2) {
    const FixedProb other = __shfl_up_sync(kAllLanes, x, delta);
    if (lane_index() >= delta) x += other;
  }
  __syncthreads();
  if (lane_index() == kWarpSize - 1) scratch.sums[warp_index()] = x;
  __syncthreads();
  FixedProb total = 0;
#pragma unroll
  for (int warp = 0; warp < kThreads / kWarpSize; ++warp) {
    if (warp < warp_index()) x += scratch.sums[warp];
    total += scratch.sums[warp];
  }
  return {x, total};
}

// The key (or its first 8 bits per pass) of the token at which a sum from the largest key down reaches `wanted`, and
// the remainder that tokens with that key must contribute.
struct Bin {
  uint32_t key;
  FixedProb rest;
};
__device__ __forceinline__ Bin find(const FixedProb* histograms, int passes, FixedProb wanted, BlockScratch& scratch) {
  Bin reached{0, wanted};
  for (int pass = 0; pass < passes; ++pass) {
    const int bin = kThreads - 1 - static_cast<int>(threadIdx.x);
    const FixedProb own = histograms[pass * kSampleBins + bin], upto = scan(own, scratch).upto;
    if (upto >= reached.rest && upto - own < reached.rest) {
      scratch.bin = bin;
      scratch.rest = reached.rest - (upto - own);
    }
    __syncthreads();
    reached = {reached.key << 8 | static_cast<uint32_t>(scratch.bin), scratch.rest};
  }
  return reached;
}

// The part of a row that a block processes.
struct RowPart {
  int64_t row, first, count;
  SamplingRow options;
  SamplingBest best;
  __device__ __forceinline__ RowPart(const SampleArgs& args, int64_t row, int64_t part)
      : row(row), first(part * args.part), options(args.options[row]), best(args.bests[row]) {
    const int64_t left = args.vocabulary - first;
    count = left < args.part ? left : args.part;
  }
  __device__ __forceinline__ const float* logits(const SampleArgs& args) const {
    return args.logits + row * args.vocabulary + first;
  }
  __device__ __forceinline__ const FixedProb* histograms(const SampleArgs& args, bool by_mass) const {
    return args.histograms + row * kSampleHistograms + (by_mass ? kSamplePasses * kSampleBins : 0);
  }
  __device__ __forceinline__ uint32_t best_key() const { return static_cast<uint32_t>(best.key_and_id >> 32); }
  __device__ __forceinline__ bool valid() const { return best.invalid == 0 && best_key() > ordered_key(-INFINITY); }
  __device__ __forceinline__ bool draws() const { return options.temperature > 0.0f && valid(); }
  __device__ __forceinline__ FixedProb weight(const SampleArgs& args, float score) const {
    return sampling_weight(score, score_of_key(best_key()), options.temperature, args.bits);
  }
};
__device__ __forceinline__ RowPart part_of_block(const SampleArgs& args) {
  return {args, blockIdx.x / args.parts, blockIdx.x % args.parts};
}

// Calls visit(logit, offset in the part) for this thread's logits, in any order.
template <bool kAligned, typename Visit>
__device__ __forceinline__ void each(const float* z, int64_t count, Visit&& visit) {
  for (int64_t at = static_cast<int64_t>(threadIdx.x) * kValues; at < count; at += kThreads * kValues) {
    float values[kValues];
    load_lanes<kAligned>(z + at, count - at, values);
#pragma unroll
    for (int i = 0; i < kValues; ++i)
      if (at + i < count) visit(values[i], at + i);
  }
}

// No two of these changes are of the same logit.
__global__ void __launch_bounds__(kThreads)
    change(float* logits, int64_t vocabulary, const SamplingChange* changes, int64_t count) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const SamplingChange own = changes[i];
  float& score = logits[own.row * vocabulary + own.id];
  score = changed_score(score, own);
}
int32_t change_logits(const SampleArgs& args, int64_t first, int64_t count, RubricateStream* stream) {
  if (count == 0) return RUBRICATE_OK;
  return RUBRICATE_LAUNCH(change, blocks_for(count, kThreads), kThreads, 0, stream, args.logits, args.vocabulary,
                          args.changes + first, count);
}

template <bool kAligned>
__global__ void __launch_bounds__(kThreads) largest(SampleArgs args) {
  const int64_t row = blockIdx.x / args.parts, first = blockIdx.x % args.parts * args.part;
  const int64_t left = args.vocabulary - first;
  FixedProb best = 0;
  bool invalid = false;
  each<kAligned>(
      args.logits + row * args.vocabulary + first, left < args.part ? left : args.part, [&](float score, int64_t at) {
        invalid |= !(score < INFINITY);
        const FixedProb key_and_id = FixedProb{ordered_key(score)} << 32 | ~static_cast<uint32_t>(first + at);
        best = key_and_id > best ? key_and_id : best;
      });
#pragma unroll
  for (int lanes = kWarpSize / 2; lanes > 0; lanes /= 2) {
    const FixedProb other = __shfl_xor_sync(kAllLanes, best, lanes);
    best = other > best ? other : best;
  }
  invalid = __any_sync(kAllLanes, invalid) != 0;
  if (lane_index() != 0) return;
  atomicMax(&args.bests[row].key_and_id, best);
  if (invalid) atomicMax(&args.bests[row].invalid, FixedProb{1});
}

// The lowest key that top-k keeps.
__device__ __forceinline__ uint32_t least_key(const SampleArgs& args, const RowPart& part, BlockScratch& scratch) {
  if (part.options.top_k == 0) return 0;
  return find(part.histograms(args, false), kSamplePasses, static_cast<FixedProb>(part.options.top_k), scratch).key;
}

// The key at which top-p's sum from the most likely token down is reached, as far as `passes` have determined it.
__device__ __forceinline__ Bin top_p_bin(const SampleArgs& args, const RowPart& part, int passes,
                                         BlockScratch& scratch) {
  if (passes == 0) return {0, 0};
  const FixedProb* const histograms = part.histograms(args, true);
  const FixedProb total = scan(histograms[threadIdx.x], scratch).total;
  return find(histograms, passes, mass_enough(part.options.top_p, total), scratch);
}

// A pass: by the next 8 bits of the key, the number (top-k) or the mass (top-p) of the tokens whose key matches the
// result of the earlier passes.
template <bool kAligned, bool kByMass>
__global__ void __launch_bounds__(kThreads) narrow_down(SampleArgs args, int pass) {
  RUBRICATE_SHARED(BlockScratch, scratch);
  RUBRICATE_SHARED(FixedProb[kSampleBins], sums);
  const RowPart part = part_of_block(args);
  if (!part.draws() || (kByMass ? part.options.top_p >= 1.0 : part.options.top_k == 0)) return;
  uint32_t least = 0, found = 0;
  if constexpr (kByMass) {
    least = least_key(args, part, scratch);
    found = top_p_bin(args, part, pass, scratch).key;
  } else {
    found = find(part.histograms(args, false), pass, static_cast<FixedProb>(part.options.top_k), scratch).key;
  }
  sums[threadIdx.x] = 0;
  __syncthreads();
  const int low = 24 - 8 * pass;
  each<kAligned>(part.logits(args), part.count, [&](float score, int64_t) {
    const uint32_t key = ordered_key(score);
    if (key < least || (pass > 0 && key >> (low + 8) != found)) return;
    const FixedProb amount = kByMass ? part.weight(args, score) : 1;
    if (amount > 0) atomicAdd(&sums[key >> low & 255u], amount);
  });
  __syncthreads();
  const FixedProb own = sums[threadIdx.x];
  const int64_t row_sums = part.row * kSampleHistograms + ((kByMass ? kSamplePasses : 0) + pass) * kSampleBins;
  if (own > 0) atomicAdd(&args.histograms[row_sums + threadIdx.x], own);
}

// The candidates: keys above `key`, and the first `ties` tokens with that key; of all these, weights of at least
// least_weight.
struct Threshold {
  uint32_t key;
  FixedProb ties, tie_weight;
};
__device__ __forceinline__ Threshold threshold_of(const SampleArgs& args, const RowPart& part, BlockScratch& scratch) {
  Threshold threshold{0, kAll, 0};
  if (part.options.top_p < 1.0) {
    const Bin bin = top_p_bin(args, part, kSamplePasses, scratch);
    const FixedProb weight = part.weight(args, score_of_key(bin.key));
    threshold = {bin.key, (bin.rest + weight - 1) / weight, 0};
  } else {
    threshold.key = least_key(args, part, scratch);
  }
  const FixedProb weight = part.weight(args, score_of_key(threshold.key));
  if (threshold.key > 0 && weight >= part.options.least_weight) threshold.tie_weight = weight;
  return threshold;
}
__device__ __forceinline__ FixedProb weight_above(const SampleArgs& args, const RowPart& part,
                                                  const Threshold& threshold, float score) {
  if (ordered_key(score) <= threshold.key) return 0;
  const FixedProb weight = part.weight(args, score);
  return weight >= part.options.least_weight ? weight : 0;
}
// How many of `count` ties are kept if `before` others precede them.
__device__ __forceinline__ FixedProb ties_kept(const Threshold& threshold, FixedProb before, FixedProb count) {
  const FixedProb left = before < threshold.ties ? threshold.ties - before : 0;
  return count < left ? count : left;
}

template <bool kAligned>
__global__ void __launch_bounds__(kThreads) sum_parts(SampleArgs args) {
  RUBRICATE_SHARED(BlockScratch, scratch);
  const RowPart part = part_of_block(args);
  if (!part.draws()) return;
  const Threshold threshold = threshold_of(args, part, scratch);
  FixedProb above = 0, ties = 0;
  each<kAligned>(part.logits(args), part.count, [&](float score, int64_t) {
    above += weight_above(args, part, threshold, score);
    ties += ordered_key(score) == threshold.key;
  });
  above = scan(above, scratch).total;
  ties = scan(ties, scratch).total;
  if (threadIdx.x == 0) args.in_parts[blockIdx.x] = {above, ties};
}

// Here a thread has adjacent logits, since ids matter. `target` and `ties` count from the part's beginning.
__device__ __forceinline__ void draw_in_part(const SampleArgs& args, const RowPart& part, const Threshold& threshold,
                                             FixedProb target, FixedProb ties, BlockScratch& scratch) {
  const float* const z = part.logits(args);
  FixedProb mass = 0;
  for (int64_t begin = 0; begin < part.count && mass <= target; begin += kSampleChunk) {
    const int64_t mine = begin + static_cast<int64_t>(threadIdx.x) * kEach;
    const auto each_of_mine = [&](auto&& visit) {
      for (int i = 0; i < kEach; ++i)
        if (mine + i < part.count) visit(z[mine + i], mine + i);
    };
    FixedProb own_ties = 0;
    each_of_mine([&](float score, int64_t) { own_ties += ordered_key(score) == threshold.key; });
    const Scan all_ties = scan(own_ties, scratch);
    FixedProb seen = ties + all_ties.upto - own_ties, own = 0;
    const auto weight_of = [&](float score) {
      if (ordered_key(score) != threshold.key) return weight_above(args, part, threshold, score);
      return ties_kept(threshold, seen++, 1) * threshold.tie_weight;
    };
    each_of_mine([&](float score, int64_t) { own += weight_of(score); });
    const Scan masses = scan(own, scratch);
    FixedProb upto = mass + masses.upto - own;
    seen = ties + all_ties.upto - own_ties;
    if (upto <= target && target < upto + own)
      each_of_mine([&](float score, int64_t at) {
        const FixedProb weight = weight_of(score);
        if (upto <= target && target < upto + weight) args.ids[part.row] = static_cast<int32_t>(part.first + at);
        upto += weight;
      });
    mass += masses.total;
    ties += all_ties.total;
  }
}

__global__ void __launch_bounds__(kThreads) draw(SampleArgs args) {
  RUBRICATE_SHARED(BlockScratch, scratch);
  const RowPart whole(args, blockIdx.x, 0);
  if (!whole.draws()) {
    if (threadIdx.x == 0)
      args.ids[blockIdx.x] = whole.valid() ? static_cast<int32_t>(~static_cast<uint32_t>(whole.best.key_and_id)) : -1;
    return;
  }
  const Threshold threshold = threshold_of(args, whole, scratch);
  SamplingPart own;
  if (threadIdx.x < args.parts) own = args.in_parts[blockIdx.x * args.parts + threadIdx.x];
  const FixedProb ties_before = scan(own.ties, scratch).upto - own.ties;
  const FixedProb mass = own.above + ties_kept(threshold, ties_before, own.ties) * threshold.tie_weight;
  const Scan masses = scan(mass, scratch);
  const FixedProb target = mass_drawn(whole.options.uniform, masses.total), before = masses.upto - mass;
  if (before <= target && target < masses.upto) {
    scratch.bin = static_cast<int32_t>(threadIdx.x);
    scratch.rest = target - before;
    scratch.before = ties_before;
  }
  __syncthreads();
  const RowPart part(args, blockIdx.x, scratch.bin);
  draw_in_part(args, part, threshold, scratch.rest, scratch.before, scratch);
}

template <bool kAligned>
int32_t sample(const SampleArgs& args, RubricateStream* stream) {
  const auto blocks = static_cast<unsigned>(args.rows * args.parts);
  int32_t status = RUBRICATE_LAUNCH(largest<kAligned>, blocks, kThreads, 0, stream, args);
  for (int pass = 0; pass < kSamplePasses && args.top_k != 0 && status == RUBRICATE_OK; ++pass)
    status = RUBRICATE_LAUNCH((narrow_down<kAligned, false>), blocks, kThreads, 0, stream, args, pass);
  for (int pass = 0; pass < kSamplePasses && args.top_p != 0 && status == RUBRICATE_OK; ++pass)
    status = RUBRICATE_LAUNCH((narrow_down<kAligned, true>), blocks, kThreads, 0, stream, args, pass);
  if (args.draws != 0 && status == RUBRICATE_OK)
    status = RUBRICATE_LAUNCH(sum_parts<kAligned>, blocks, kThreads, 0, stream, args);
  if (status != RUBRICATE_OK) return status;
  return RUBRICATE_LAUNCH(draw, static_cast<unsigned>(args.rows), kThreads, 0, stream, args);
}

int32_t sample_cuda(const SampleArgs& args, RubricateStream* stream) {
  if (args.rows == 0) return RUBRICATE_OK;
  int32_t status = change_logits(args, 0, args.biased, stream);
  if (status == RUBRICATE_OK) status = change_logits(args, args.biased, args.penalised, stream);
  if (status != RUBRICATE_OK) return status;
  return aligned_16(args.logits) && args.vocabulary % kValues == 0 ? sample<true>(args, stream)
                                                                   : sample<false>(args, stream);
}

RUBRICATE_KERNEL("sample/2", sample_cuda);

}  // namespace
}  // namespace rubricate::cuda
