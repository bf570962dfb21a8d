// Sums over rows into each slot's gradients (row_sums.h), in two steps.
//
// Why two steps: one chain over all rows of a column would use too few threads to fill a device, and atomic additions
// would change the order, and so the bits, from run to run. So tiles of 64 rows are summed in parallel, and then their
// sums are added in a fixed order. Why dh is written here too: it needs the grad that the sums read, so fusing it saves
// one read of the tensor.
//
//   tiles   a thread adds 64 rows of 8 columns, one chain from zero each for products and plain, and writes them to
//           partials [tiles, 2, cols]; it also writes dh = scale * grad if required
//   fold    adds a sequence's tiles in order, then the sequences' sums to their slots' gradients in order
//
// Order of sums: rows ascending within a tile, tiles ascending within a sequence, sequences ascending within a slot.
// Tiles are counted from a sequence's first row, so that other sequences of the batch do not change a bit.
//
// Memory-bound: for each element grad and x are read (4 bytes in bf16) and dh is written (6 bytes). The partials are
// written and read once, 8 bytes each way for 64 rows of a column, which is 1/24 of that. Two operations per gradient
// and element.
#include "ops/row_sums/row_sums.cuh"

#include "ops/slots/slots.cuh"

namespace rubricate::cuda {
namespace {

constexpr int kThreads = 64;
constexpr int kAtOnce = 4;  // rows in flight

template <typename T>
__device__ __forceinline__ void add_row(const SlotSumsArgs& args, int64_t t, bool wants_products,
                                        const float (&grad)[kRowChunk], float (&v)[kRowChunk],
                                        float (&products)[kRowChunk], float (&plain)[kRowChunk]) {
  const float mean = args.mean != nullptr ? args.mean[t] : 0.0f, inv = args.inv != nullptr ? args.inv[t] : 1.0f;
#pragma unroll
  for (int i = 0; i < kRowChunk; ++i) {
    plain[i] += grad[i];
    if (!wants_products) continue;
    if (args.mean != nullptr) v[i] -= mean;
    if (args.inv != nullptr) v[i] *= inv;
    products[i] = fmaf(grad[i], v[i], products[i]);
  }
}

// At least 1 block even of odd shapes: without this hint ptxas spills on sm_90 to make room for more.
template <typename T, bool kWhole>
__global__ void __launch_bounds__(kThreads, kWhole ? 0 : 1) tile_sums(SlotSumsArgs args, int64_t strips) {
  const int64_t column = (blockIdx.x % strips * kThreads + threadIdx.x) * kRowChunk, left = args.cols - column;
  if (left <= 0) return;
  const int64_t index = blockIdx.x / strips;
  const Tile tile = tile_at(args.rows, args.first_tile + index);
  const bool wants_products = of_slot(args.products, tile.slot) != nullptr;
  const bool wants_plain = of_slot(args.plain, tile.slot) != nullptr;
  const float* const scale = args.dh != nullptr ? of_slot(args.scale, tile.slot) : nullptr;
  if (!wants_products && !wants_plain && args.dh == nullptr) return;
  float s[kRowChunk], products[kRowChunk], plain[kRowChunk];
#pragma unroll
  for (int i = 0; i < kRowChunk; ++i) products[i] = plain[i] = 0.0f;
  if (scale != nullptr) load_chunk<kWhole>(scale + column, left, s);

  const T* const x = at<T>(args.x, column);
  const T* const grad = at<T>(args.grad, column);
  T* const dh = at<T>(args.dh, column);
  if constexpr (kWhole) {
    for (int64_t first = tile.begin; first < tile.end; first += kAtOnce) {
      Packed<T> g[kAtOnce], v[kAtOnce];
#pragma unroll
      for (int r = 0; r < kAtOnce; ++r) {
        if (first + r >= tile.end) break;
        g[r] = load_packed_once(grad + (first + r) * args.cols);
        if (wants_products) v[r] = load_packed_once(x + (first + r) * args.cols);
      }
#pragma unroll
      for (int r = 0; r < kAtOnce; ++r) {
        if (first + r >= tile.end) break;
        float gradient[kRowChunk], values[kRowChunk] = {};
        unpack(g[r], gradient);
        if (wants_products) unpack(v[r], values);
        add_row<T>(args, first + r, wants_products, gradient, values, products, plain);
        if (args.dh == nullptr) continue;
        if (scale != nullptr) {
#pragma unroll
          for (int i = 0; i < kRowChunk; ++i) gradient[i] *= s[i];
          g[r] = pack<T>(gradient);
        }
        store_packed(dh + (first + r) * args.cols, g[r]);
      }
    }
  } else {
    for (int64_t t = tile.begin; t < tile.end; ++t) {
      float gradient[kRowChunk], values[kRowChunk] = {};
      load_some(grad + t * args.cols, left, gradient);
      if (wants_products) load_some(x + t * args.cols, left, values);
      add_row<T>(args, t, wants_products, gradient, values, products, plain);
      if (args.dh == nullptr) continue;
      for (int i = 0; i < kRowChunk && i < left; ++i) {
        const int64_t place = t * args.cols + i;
        dh[place] = scale != nullptr ? narrow<T>(gradient[i] * s[i]) : grad[place];
      }
    }
  }
  float* const partial = at<float>(args.partials, 2 * index * args.cols + column);
  if (wants_products) store_chunk<kWhole>(partial, left, products);
  if (wants_plain) store_chunk<kWhole>(partial + args.cols, left, plain);
}

// A block has 32 columns of one of the two gradients; its warps sum that many sequences in parallel.
constexpr int kFoldWarps = 8;
constexpr int kTilesAtOnce = 8;

__device__ __forceinline__ float sequence_sum(const SlotSumsArgs& args, int64_t first, int64_t last, const float* at) {
  float sum = 0.0f;
  const int64_t stride = 2 * args.cols;
  for (; first < last; first += kTilesAtOnce) {
    float tiles[kTilesAtOnce];
#pragma unroll
    for (int i = 0; i < kTilesAtOnce; ++i)
      if (first + i < last) tiles[i] = at[(first + i) * stride];
#pragma unroll
    for (int i = 0; i < kTilesAtOnce; ++i)
      if (first + i < last) sum += tiles[i];
  }
  return sum;
}

__global__ void __launch_bounds__(kFoldWarps* kWarpSize) fold(SlotSumsArgs args) {
  RUBRICATE_SHARED(float[kFoldWarps][kWarpSize], sums);
  const int64_t part = blockIdx.x % 2;  // 0: products
  const int64_t column = blockIdx.x / 2 * kWarpSize + lane_index();
  const float* const partials = args.partials + part * args.cols + column;
  const auto gradient_of = [&](int64_t s) {
    if (s >= args.last_sequence) return static_cast<float*>(nullptr);
    if (args.rows.tiles != nullptr && args.rows.tiles[s] == args.rows.tiles[s + 1]) return static_cast<float*>(nullptr);
    const int32_t slot = args.rows.slots == nullptr ? args.rows.slot : args.rows.slots[s];
    return of_slot(part == 0 ? args.products : args.plain, slot);
  };
  float* gradient = nullptr;  // the gradient that is being added to, and its value in the column
  float value = 0.0f;
  for (int64_t base = args.first_sequence; base < args.last_sequence; base += kFoldWarps) {
    const int64_t mine = base + warp_index();
    if (gradient_of(mine) != nullptr && column < args.cols) {
      const int64_t begin = args.rows.tiles == nullptr ? 0 : args.rows.tiles[mine];
      const int64_t end = args.rows.tiles == nullptr ? args.rows.tile_count : args.rows.tiles[mine + 1];
      sums[warp_index()][lane_index()] = sequence_sum(args, begin - args.first_tile, end - args.first_tile, partials);
    }
    __syncthreads();
    if (warp_index() == 0 && column < args.cols) {
      for (int warp = 0; warp < kFoldWarps; ++warp) {
        float* const next = gradient_of(base + warp);
        if (next == nullptr) continue;
        if (next != gradient) {
          if (gradient != nullptr) gradient[column] = value;
          gradient = next;
          value = gradient[column];
        }
        value += sums[warp][lane_index()];
      }
    }
    __syncthreads();
  }
  if (gradient != nullptr) gradient[column] = value;
}

template <typename T>
int32_t tiles(const SlotSumsArgs& args, RubricateStream* stream) {
  const int64_t strips = (args.cols + kThreads * kRowChunk - 1) / (kThreads * kRowChunk);
  const unsigned blocks = blocks_for(strips * (args.last_tile - args.first_tile), 1);
  if (sums_aligned(args)) return RUBRICATE_LAUNCH((tile_sums<T, true>), blocks, kThreads, 0, stream, args, strips);
  return RUBRICATE_LAUNCH((tile_sums<T, false>), blocks, kThreads, 0, stream, args, strips);
}

int32_t row_sums_cuda(const SlotSumsArgs& args, RubricateStream* stream) {
  if (args.cols == 0 || args.first_tile == args.last_tile) return RUBRICATE_OK;
  const int32_t launched = launch_tile_sums(args, stream);
  return launched == RUBRICATE_OK && args.partials != nullptr ? launch_fold(args, stream) : launched;
}

RUBRICATE_KERNEL("row_sums/1", row_sums_cuda);

}  // namespace

bool sums_aligned(const SlotSumsArgs& args) {
  return args.cols % kRowChunk == 0 && aligned_16(args.x) && aligned_16(args.grad) && aligned_16(args.dh) &&
         aligned_16(args.partials) && args.scale.aligned;
}

int32_t launch_tile_sums(const SlotSumsArgs& args, RubricateStream* stream) {
  return args.dtype == DType::bf16 ? tiles<bf16>(args, stream) : tiles<float>(args, stream);
}

int32_t launch_fold(const SlotSumsArgs& args, RubricateStream* stream) {
  return RUBRICATE_LAUNCH(fold, 2 * blocks_for(args.cols, kWarpSize), kFoldWarps * kWarpSize, 0, stream, args);
}

}  // namespace rubricate::cuda
