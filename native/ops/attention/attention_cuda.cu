// Attention (attention.h) on a device: the choice of kernels, and the two small ones.
//
// bf16 with a head_dim of up to 128 in steps of 8 runs on tensor cores if the device has them, in kernels built for
// head_dim 32, 48, 64, 96 and 128; other sizes are padded with zeros in shared memory. Everything else runs the plain
// kernels.
#include <type_traits>

#include "device/cuda/kernel.h"
#include "ops/attention/attention_backward_tensor_cores.cuh"
#include "ops/attention/attention_kernels.h"
#include "ops/attention/attention_plain.cuh"
#include "ops/attention/attention_tensor_cores.cuh"
#include "ops/shared/search.cuh"

namespace rubricate::cuda {
namespace {

constexpr int kPlainParts = static_cast<int>(kAttentionTile) / kPlainRows;

bool tensor_cores(DType dtype, const AttentionShape& shape, const RubricateStream* stream) {
  const bool fits = shape.head_dim <= 128 && shape.head_dim % kCopyChunk == 0;
  return dtype == DType::bf16 && fits && stream->capability >= 80;
}

template <int kDim>
struct Dim {
  static constexpr int value = kDim;
};
// Calls run(Dim<d>()) for the smallest built d >= head_dim.
template <typename Run>
int32_t with_fast_dim(int64_t head_dim, Run&& run) {
  if (head_dim <= 32) return run(Dim<32>());
  if (head_dim <= 48) return run(Dim<48>());
  if (head_dim <= 64) return run(Dim<64>());
  if (head_dim <= 96) return run(Dim<96>());
  return run(Dim<128>());
}
template <typename Run>
int32_t with_plain_dim(int64_t head_dim, Run&& run) {
  if (head_dim <= 64) return run(Dim<64>());
  if (head_dim <= 128) return run(Dim<128>());
  if (head_dim <= 256) return run(Dim<256>());
  return failed(RUBRICATE_INVALID, "attention on a device takes a head_dim of at most 256");
}

// Calls run(std::bool_constant<...>()): whether the shape has a window.
template <typename Run>
int32_t with_window(const AttentionShape& shape, Run&& run) {
  return shape.window > 0 ? run(std::true_type()) : run(std::false_type());
}

dim3 grid_of(int64_t tiles, const AttentionShape& shape, int parts) {
  return {static_cast<unsigned>(tiles), static_cast<unsigned>(shape.kv_heads), static_cast<unsigned>(parts)};
}

int32_t forward_tensor_cores(const AttentionForwardDeviceArgs& args, RubricateStream* stream) {
  const AttentionForwardPointers at{
      static_cast<const bf16*>(args.q),
      {static_cast<const bf16*>(args.k), static_cast<const bf16*>(args.v), args.pages, args.pages_per_sequence},
      static_cast<bf16*>(args.o),
      args.lse,
      args.tiles,
      head_sizes(args.shape),
      args.shape.scale};
  return with_fast_dim(args.shape.head_dim, [&](auto dim) {
    return with_window(args.shape, [&](auto window) {
      constexpr int kDim = decltype(dim)::value;
      return RUBRICATE_LAUNCH((attention_forward_tensor_cores<kDim, decltype(window)::value>),
                              grid_of(args.tile_count, args.shape, 1), kAttentionThreads, kForwardBytes<kDim>, stream,
                              at);
    });
  });
}

template <typename T>
int32_t forward_plain(const AttentionForwardDeviceArgs& args, RubricateStream* stream) {
  AttentionPlainPointers<T> at{};
  at.q = static_cast<const T*>(args.q);
  at.source = {static_cast<const T*>(args.k), static_cast<const T*>(args.v), args.pages, args.pages_per_sequence};
  at.o = static_cast<T*>(args.o);
  at.lse = args.lse;
  at.tiles = args.tiles;
  at.sizes = head_sizes(args.shape);
  at.scale = args.shape.scale;
  return with_plain_dim(args.shape.head_dim, [&](auto dim) {
    return with_window(args.shape, [&](auto window) {
      return RUBRICATE_LAUNCH((attention_forward_plain<T, decltype(dim)::value, decltype(window)::value>),
                              grid_of(args.tile_count, args.shape, kPlainParts), kPlainThreads, 0, stream, at);
    });
  });
}

int32_t attention_forward_cuda(const AttentionForwardDeviceArgs& args, RubricateStream* stream) {
  if (args.tile_count == 0) return RUBRICATE_OK;
  if (tensor_cores(args.dtype, args.shape, stream)) return forward_tensor_cores(args, stream);
  return args.dtype == DType::bf16 ? forward_plain<bf16>(args, stream) : forward_plain<float>(args, stream);
}

// delta[row, head] = dO . o, a warp for each. Reads 2 head_dim elements for 2 head_dim operations.
template <typename T>
__global__ void __launch_bounds__(kPlainThreads)
    attention_delta(const T* __restrict__ o, const T* __restrict__ dout, float* __restrict__ delta, int64_t count,
                    int head_dim) {
  const int64_t offset = static_cast<int64_t>(blockIdx.x) * (kPlainThreads / kWarpSize) + warp_index();
  if (offset >= count) return;
  float sum = 0.0f;
  for (int d = lane_index(); d < head_dim; d += kWarpSize)
    sum = fmaf(widen(o[offset * head_dim + d]), widen(dout[offset * head_dim + d]), sum);
  sum = warp_sum(sum);
  if (lane_index() == 0) delta[offset] = sum;
}

template <typename T>
int32_t launch_delta(const AttentionBackwardDeviceArgs& args, RubricateStream* stream) {
  const int64_t count = args.rows * args.shape.heads;
  return RUBRICATE_LAUNCH(attention_delta<T>, blocks_for(count, kPlainThreads / kWarpSize), kPlainThreads, 0, stream,
                          static_cast<const T*>(args.o), static_cast<const T*>(args.dout), args.delta, count,
                          static_cast<int>(args.shape.head_dim));
}

int32_t backward_tensor_cores(const AttentionBackwardDeviceArgs& args, RubricateStream* stream) {
  AttentionBackwardPointers at{static_cast<const bf16*>(args.q),
                               static_cast<const bf16*>(args.k),
                               static_cast<const bf16*>(args.v),
                               static_cast<const bf16*>(args.dout),
                               args.lse,
                               args.delta,
                               static_cast<bf16*>(args.dq),
                               static_cast<bf16*>(args.dk),
                               static_cast<bf16*>(args.dv),
                               args.query_tiles,
                               head_sizes(args.shape),
                               args.shape.scale};
  return with_fast_dim(args.shape.head_dim, [&](auto dim) {
    return with_window(args.shape, [&](auto window) {
      constexpr int kDim = decltype(dim)::value;
      constexpr bool kWindow = decltype(window)::value;
      int32_t status = RUBRICATE_OK;
      if (args.dq != nullptr)
        status =
            RUBRICATE_LAUNCH((attention_query_gradient<kDim, kWindow>), grid_of(args.query_tile_count, args.shape, 1),
                             kAttentionThreads, kQueryGradientBytes<kDim>, stream, at);
      if (status != RUBRICATE_OK || (args.dk == nullptr && args.dv == nullptr)) return status;
      at.tiles = args.key_tiles;
      return RUBRICATE_LAUNCH((attention_key_gradient<kDim, kWindow>), grid_of(args.key_tile_count, args.shape, 1),
                              kAttentionThreads, kKeyGradientBytes<kDim>, stream, at);
    });
  });
}

template <typename T>
int32_t backward_plain(const AttentionBackwardDeviceArgs& args, RubricateStream* stream) {
  AttentionPlainPointers<T> at{};
  at.q = static_cast<const T*>(args.q);
  at.source = {static_cast<const T*>(args.k), static_cast<const T*>(args.v), nullptr, 0};
  at.dout = static_cast<const T*>(args.dout);
  at.lse = const_cast<float*>(args.lse);  // only read in the backward
  at.delta = args.delta;
  at.dq = static_cast<T*>(args.dq);
  at.dk = static_cast<T*>(args.dk);
  at.dv = static_cast<T*>(args.dv);
  at.tiles = args.query_tiles;
  at.sizes = head_sizes(args.shape);
  at.scale = args.shape.scale;
  return with_plain_dim(args.shape.head_dim, [&](auto dim) {
    return with_window(args.shape, [&](auto window) {
      constexpr int kDim = decltype(dim)::value;
      constexpr bool kWindow = decltype(window)::value;
      int32_t status = RUBRICATE_OK;
      if (args.dq != nullptr)
        status =
            RUBRICATE_LAUNCH((attention_query_gradient_plain<T, kDim, kWindow>),
                             grid_of(args.query_tile_count, args.shape, kPlainParts), kPlainThreads, 0, stream, at);
      if (status != RUBRICATE_OK || (args.dk == nullptr && args.dv == nullptr)) return status;
      at.tiles = args.key_tiles;
      return RUBRICATE_LAUNCH((attention_key_gradient_plain<T, kDim, kWindow>),
                              grid_of(args.key_tile_count, args.shape, kPlainParts), kPlainThreads, 0, stream, at);
    });
  });
}

int32_t attention_backward_cuda(const AttentionBackwardDeviceArgs& args, RubricateStream* stream) {
  if (args.rows == 0) return RUBRICATE_OK;
  const bool bf16_values = args.dtype == DType::bf16;
  const int32_t status = bf16_values ? launch_delta<bf16>(args, stream) : launch_delta<float>(args, stream);
  if (status != RUBRICATE_OK) return status;
  if (tensor_cores(args.dtype, args.shape, stream)) return backward_tensor_cores(args, stream);
  return bf16_values ? backward_plain<bf16>(args, stream) : backward_plain<float>(args, stream);
}

// Copies a row's keys and values, kv head by kv head, into the page of its position. Word: an integer of the element's
// size.
template <typename Word>
__global__ void __launch_bounds__(kPlainThreads) store_keys(StoreKeysDeviceArgs args) {
  const int32_t row = static_cast<int32_t>(blockIdx.x);
  const int64_t sequence = last_at_most(args.starts, args.sequences, row);
  const int64_t position = args.past[sequence] + row - args.starts[sequence];
  const int64_t head_dim = args.shape.head_dim, size = args.shape.kv_heads * head_dim;
  Word* const page = static_cast<Word*>(args.pages[sequence * args.pages_per_sequence + position / kKeyBlock]);
  const Word* const k = static_cast<const Word*>(args.k) + row * size;
  const Word* const v = static_cast<const Word*>(args.v) + row * size;
  for (int64_t i = threadIdx.x; i < size; i += kPlainThreads) {
    const int64_t to = (i / head_dim * kKeyBlock + position % kKeyBlock) * head_dim + i % head_dim;
    page[to] = k[i];
    page[to + size * kKeyBlock] = v[i];
  }
}

int32_t store_keys_cuda(const StoreKeysDeviceArgs& args, RubricateStream* stream) {
  if (args.rows == 0) return RUBRICATE_OK;
  const unsigned rows = static_cast<unsigned>(args.rows);
  if (args.dtype == DType::bf16) return RUBRICATE_LAUNCH(store_keys<uint16_t>, rows, kPlainThreads, 0, stream, args);
  return RUBRICATE_LAUNCH(store_keys<uint32_t>, rows, kPlainThreads, 0, stream, args);
}

RUBRICATE_KERNEL("attention_forward/2", attention_forward_cuda);
RUBRICATE_KERNEL("attention_backward/2", attention_backward_cuda);
RUBRICATE_KERNEL("store_keys/2", store_keys_cuda);

}  // namespace
}  // namespace rubricate::cuda
