#include "ops/attention/attention.h"

#include <algorithm>

#include "base/integers.h"
#include "device/cpu/thread_pool.h"
#include "device/stream.h"
#include "ops/attention/attention_cpu.h"
#include "ops/shared/checks.h"
#include "ops/shared/device_copies.h"
#include "ops/shared/rows.h"

namespace rubricate {
namespace {

void check_heads(const AttentionShape& shape) {
  require(shape.heads > 0 && shape.kv_heads > 0 && shape.head_dim > 0 && shape.heads % shape.kv_heads == 0, "ERR_SHAPE",
          "Expected positive heads, a divisor of them for kv_heads, and a positive head_dim but received ", shape.heads,
          ", ", shape.kv_heads, " and ", shape.head_dim);
  require(shape.window >= 0, "ERR_ARGUMENT", "Expected a window of 0 or more but received ", shape.window);
}

void check_tensor(const char* name, const Tensor& x, int64_t cols) {
  require(x.defined() && x.rank() == 2 && x.cols() == cols, "ERR_SHAPE", "Expected [T, ", cols, "] for ", name,
          " but received ", shape_text(x.shape()));
  require(x.dtype() == DType::f32 || x.dtype() == DType::bf16, "ERR_DTYPE", "Expected float32 or bfloat16 for ", name,
          " but received ", dtype_name(x.dtype()));
}

// k and v must have the same number of rows, and the dtype of q.
void check_keys(const Tensor& k, const Tensor& v, const AttentionShape& shape, DType dtype) {
  check_tensor("k", k, shape.kv_heads * shape.head_dim);
  check_tensor("v", v, shape.kv_heads * shape.head_dim);
  require(k.dim(0) == v.dim(0), "ERR_SHAPE", "Expected as many rows for v as for k but received ",
          shape_text(v.shape()), " and ", shape_text(k.shape()));
  require(k.dtype() == dtype && v.dtype() == dtype, "ERR_DTYPE", "Expected ", dtype_name(dtype),
          " for k and v but received ", dtype_name(k.dtype()), " and ", dtype_name(v.dtype()));
}

void check_cache(const PagedKeys& cache, DType dtype, int64_t sequences, const int32_t* starts) {
  require(cache.dtype == dtype, "ERR_DTYPE", "Expected a cache of ", dtype_name(dtype), " but received one of ",
          dtype_name(cache.dtype));
  require(cache.layer >= 0 && cache.layer < cache.layers, "ERR_SHAPE", "Expected a layer below ", cache.layers,
          " but received ", cache.layer);
  for (int64_t s = 0; s < sequences; ++s) {
    require(cache.past[s] >= 0, "ERR_SHAPE", "Expected 0 or more past positions but received ", cache.past[s]);
    const int64_t length = cache.past[s] + starts[s + 1] - starts[s], used = ceil_div(length, kKeyBlock);
    require(used <= cache.pages_per_sequence, "ERR_SHAPE", "Expected at most ", cache.pages_per_sequence * kKeyBlock,
            " positions in the cache but received ", length);
    for (int64_t b = 0; b < used; ++b) {
      const int32_t page = cache.page_table[s * cache.pages_per_sequence + b];
      require(page >= 0 && page < cache.page_count && cache.pages[page] != nullptr, "ERR_SHAPE",
              "Expected a page below ", cache.page_count, " but received ", page);
    }
  }
}

KeySource paged_source(const PagedKeys& cache) {
  return {.pages = cache.pages,
          .page_offset = cache.layer * cache.layer_bytes,
          .page_table = cache.page_table,
          .pages_per_sequence = cache.pages_per_sequence,
          .past = cache.past};
}

using Copies = std::shared_ptr<DeviceCopies>;

// The tiles of a CUDA kernel, in device memory.
struct DeviceTiles {
  DeviceCopies::Copy copy;
  int64_t count() const { return copy.count; }
  const AttentionTile* data() const { return static_cast<const AttentionTile*>(copy.memory.raw()); }
};

// The tiles of all sequences, with `per_position` rows for each position. The slowest tiles come first: for queries
// those that see most keys, for keys the first ones, which most queries see. past: as in PagedKeys, or null.
std::vector<AttentionTile> tiles_of(int64_t sequences, const int32_t* starts, const int32_t* past, int64_t per_position,
                                    bool keys) {
  std::vector<AttentionTile> tiles;
  for (int64_t s = 0; s < sequences; ++s) {
    const int32_t count = starts[s + 1] - starts[s];
    for (int64_t first = 0; first < count * per_position; first += kAttentionTile)
      tiles.push_back(
          {static_cast<int32_t>(s), starts[s], count, past != nullptr ? past[s] : 0, static_cast<int32_t>(first)});
  }
  const auto work = [per_position, keys](const AttentionTile& tile) {
    return keys ? tile.count - tile.first : tile.past + tile.first / per_position;
  };
  std::stable_sort(tiles.begin(), tiles.end(),
                   [&](const AttentionTile& a, const AttentionTile& b) { return work(a) > work(b); });
  return tiles;
}
DeviceTiles query_tiles(Tape& tape, const AttentionShape& shape, int64_t sequences, const int32_t* starts,
                        const int32_t* past, const Copies& copies) {
  const int64_t group = shape.heads / shape.kv_heads;
  return {device_copy(tape, copies, DeviceCopies::Table::query_tiles, group,
                      [&] { return tiles_of(sequences, starts, past, group, false); })};
}
DeviceTiles key_tiles(Tape& tape, int64_t sequences, const int32_t* starts, const Copies& copies) {
  return {device_copy(tape, copies, DeviceCopies::Table::key_tiles, 0,
                      [&] { return tiles_of(sequences, starts, nullptr, 1, true); })};
}

// The addresses of each sequence's pages of this layer, [sequences, pages_per_sequence] in device memory; null if a page
// is missing. The layers of a forward share one upload, which `memory` holds.
struct DevicePages {
  Tensor memory;
  void** addresses = nullptr;
};
DevicePages device_pages(Tape& tape, const PagedKeys& cache, int64_t sequences) {
  const int64_t entries = sequences * cache.pages_per_sequence;
  const auto addresses = [&] {
    std::vector<void*> pages(static_cast<size_t>(cache.layers * entries));
    for (int64_t i = 0; i < entries; ++i) {
      const int32_t page = cache.page_table[i];
      if (page < 0 || page >= cache.page_count || cache.pages[page] == nullptr) continue;
      for (int64_t layer = 0; layer < cache.layers; ++layer)
        pages[static_cast<size_t>(layer * entries + i)] =
            static_cast<char*>(cache.pages[page]) + layer * cache.layer_bytes;
    }
    return pages;
  };
  DevicePages pages{device_copy(tape, cache.copies, DeviceCopies::Table::pages, 0, addresses).memory};
  pages.addresses = static_cast<void**>(pages.memory.raw()) + cache.layer * entries;
  return pages;
}

// What the backward needs. Only values, so that it keeps no gradients alive but those it computes.
struct Saved {
  Tensor q, k, v, o, lse;
  std::shared_ptr<GradSlot> q_slot, k_slot, v_slot;
  AttentionShape shape;
  int64_t sequences;
  const int32_t* starts;
  Copies copies;
};

void attention_backward(Tape& tape, const Saved& saved, const Tensor& grad) {
  const DType dtype = saved.q.dtype();
  const auto wanted = [&](const std::shared_ptr<GradSlot>& slot, const Tensor& like) {
    return slot ? tape.empty(like.shape(), dtype) : Tensor();
  };
  Tensor dq = wanted(saved.q_slot, saved.q), dk = wanted(saved.k_slot, saved.k), dv = wanted(saved.v_slot, saved.v);
  Tensor delta = tape.empty(saved.lse.shape(), DType::f32);
  const auto accumulate = [&] {
    tape.accumulate(saved.q_slot, std::move(dq));
    tape.accumulate(saved.k_slot, std::move(dk));
    tape.accumulate(saved.v_slot, std::move(dv));
  };
  if (Stream* stream = tape.stream()) {
    const DeviceTiles queries = query_tiles(tape, saved.shape, saved.sequences, saved.starts, nullptr, saved.copies);
    const DeviceTiles keys = key_tiles(tape, saved.sequences, saved.starts, saved.copies);
    stream->run("attention_backward/2", AttentionBackwardDeviceArgs{.dtype = dtype,
                                                                    .shape = saved.shape,
                                                                    .q = saved.q.raw(),
                                                                    .k = saved.k.raw(),
                                                                    .v = saved.v.raw(),
                                                                    .o = saved.o.raw(),
                                                                    .dout = grad.raw(),
                                                                    .lse = saved.lse.data<float>(),
                                                                    .delta = delta.data<float>(),
                                                                    .dq = dq.raw(),
                                                                    .dk = dk.raw(),
                                                                    .dv = dv.raw(),
                                                                    .rows = saved.q.dim(0),
                                                                    .query_tiles = queries.data(),
                                                                    .key_tiles = keys.data(),
                                                                    .query_tile_count = queries.count(),
                                                                    .key_tile_count = keys.count()});
    return accumulate();
  }
  const AttentionBackwardArgs args{.dtype = dtype,
                                   .shape = saved.shape,
                                   .q = saved.q.raw(),
                                   .k = saved.k.raw(),
                                   .v = saved.v.raw(),
                                   .o = saved.o.raw(),
                                   .dout = grad.raw(),
                                   .lse = saved.lse.data<float>(),
                                   .delta = delta.data<float>(),
                                   .dq = dq.raw(),
                                   .dk = dk.raw(),
                                   .dv = dv.raw(),
                                   .starts = saved.starts,
                                   .rows = saved.q.dim(0)};
  attention_backward_cpu(args, backward_tasks(saved.shape, saved.sequences, saved.starts, dq.defined(),
                                              dk.defined() || dv.defined(), ThreadPool::instance().size()));
  accumulate();
}

// Forward on a device: against keys and values of the batch, or, if k is null, of the cache.
void forward_on_device(Tape& tape, Stream& stream, const Tensor& q, const void* k, const void* v,
                       const AttentionShape& shape, int64_t sequences, const int32_t* starts, const PagedKeys* cache,
                       const Copies& copies, const Tensor& o, float* lse) {
  const DeviceTiles tiles =
      query_tiles(tape, shape, sequences, starts, cache != nullptr ? cache->past : nullptr, copies);
  const DevicePages pages = cache != nullptr ? device_pages(tape, *cache, sequences) : DevicePages();
  stream.run("attention_forward/2",
             AttentionForwardDeviceArgs{.dtype = q.dtype(),
                                        .shape = shape,
                                        .q = q.raw(),
                                        .k = k,
                                        .v = v,
                                        .o = o.raw(),
                                        .lse = lse,
                                        .tiles = tiles.data(),
                                        .tile_count = tiles.count(),
                                        .pages = pages.addresses,
                                        .pages_per_sequence = cache != nullptr ? cache->pages_per_sequence : 0});
}

}  // namespace

Var attention(Tape& tape, const Var& q, const Var& k, const Var& v, const AttentionShape& shape, int64_t sequences,
              const int32_t* starts, const Copies& copies) {
  tape.check_cancelled("attention");
  check_heads(shape);
  check_tensor("q", q.value(), shape.heads * shape.head_dim);
  check_keys(k.value(), v.value(), shape, q.value().dtype());
  const int64_t rows = q.value().dim(0);
  require(k.value().dim(0) == rows, "ERR_SHAPE", "Expected ", rows, " rows for k but received ", k.value().dim(0));
  check_starts(starts, sequences, rows, 0);
  require_place(tape, q.value(), "q");
  require_place(tape, k.value(), "k");
  require_place(tape, v.value(), "v");
  const bool wanted = tape.wants_grad({q.slot().get(), k.slot().get(), v.slot().get()});

  Tensor o = tape.empty(q.value().shape(), q.value().dtype());
  Tensor lse = wanted ? tape.empty({rows, shape.heads}, DType::f32) : Tensor();
  float* const saved_lse = wanted ? lse.data<float>() : nullptr;
  if (Stream* stream = tape.stream()) {
    forward_on_device(tape, *stream, q.value(), k.value().raw(), v.value().raw(), shape, sequences, starts, nullptr,
                      copies, o, saved_lse);
  } else {
    const AttentionForwardArgs args{.dtype = q.value().dtype(),
                                    .shape = shape,
                                    .q = q.value().raw(),
                                    .o = o.raw(),
                                    .lse = saved_lse,
                                    .starts = starts,
                                    .source = {.k = k.value().raw(), .v = v.value().raw()}};
    attention_forward_cpu(args, forward_tasks(shape, sequences, starts, nullptr, ThreadPool::instance().size()));
  }
  if (!wanted) return o;
  return tape.record(
      "attention", o,
      [saved = Saved{q.value(), k.value(), v.value(), o, std::move(lse), q.slot(), k.slot(), v.slot(), shape, sequences,
                     starts, copies}](Tape& tape, const Tensor& grad) { attention_backward(tape, saved, grad); });
}

void store_keys(Tape& tape, const Tensor& k, const Tensor& v, const AttentionShape& shape, int64_t sequences,
                const int32_t* starts, const PagedKeys& cache) {
  check_heads(shape);
  check_keys(k, v, shape, k.dtype());
  check_starts(starts, sequences, k.dim(0), 0);
  check_cache(cache, k.dtype(), sequences, starts);
  require_place(tape, k, "k");
  require_place(tape, v, "v");
  if (Stream* stream = tape.stream()) {
    using Table = DeviceCopies::Table;
    const auto copied = [&](Table table, const int32_t* from, int64_t count) {
      return device_copy(tape, cache.copies, table, 0, [&] { return std::vector<int32_t>(from, from + count); }).memory;
    };
    const Tensor device_starts = copied(Table::starts, starts, sequences + 1);
    const Tensor past = copied(Table::past, cache.past, sequences);
    const DevicePages pages = device_pages(tape, cache, sequences);
    return stream->run("store_keys/2", StoreKeysDeviceArgs{.dtype = k.dtype(),
                                                           .shape = shape,
                                                           .k = k.raw(),
                                                           .v = v.raw(),
                                                           .starts = static_cast<const int32_t*>(device_starts.raw()),
                                                           .past = static_cast<const int32_t*>(past.raw()),
                                                           .sequences = sequences,
                                                           .rows = k.dim(0),
                                                           .pages = pages.addresses,
                                                           .pages_per_sequence = cache.pages_per_sequence});
  }
  store_keys_cpu({.dtype = k.dtype(),
                  .shape = shape,
                  .k = k.raw(),
                  .v = v.raw(),
                  .starts = starts,
                  .sequences = sequences,
                  .cache = paged_source(cache)});
}

Tensor attention_paged(Tape& tape, const Tensor& q, const AttentionShape& shape, int64_t sequences,
                       const int32_t* starts, const PagedKeys& cache) {
  tape.check_cancelled("attention");
  check_heads(shape);
  check_tensor("q", q, shape.heads * shape.head_dim);
  check_starts(starts, sequences, q.dim(0), 0);
  check_cache(cache, q.dtype(), sequences, starts);
  require_place(tape, q, "q");
  Tensor o = tape.empty(q.shape(), q.dtype());
  if (Stream* stream = tape.stream()) {
    forward_on_device(tape, *stream, q, nullptr, nullptr, shape, sequences, starts, &cache, cache.copies, o, nullptr);
    return o;
  }
  const AttentionForwardArgs args{
      .dtype = q.dtype(), .shape = shape, .q = q.raw(), .o = o.raw(), .starts = starts, .source = paged_source(cache)};
  attention_forward_cpu(args, forward_tasks(shape, sequences, starts, cache.past, ThreadPool::instance().size()));
  return o;
}

}  // namespace rubricate
