// Arguments that the kernels of attention.h share on every device: the size of a key block, the shape, and the
// arguments of the CUDA kernels, whose pointers are to device memory.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace rubricate {

constexpr int64_t kKeyBlock = 64;

struct AttentionShape {
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  float scale = 0.0f;  // usually 1 / sqrt(head_dim)
  int64_t window = 0;  // how many keys a query sees at most, the last of them its own; 0: all up to its own
  // The first key that the query at a position sees.
  constexpr int64_t first_key(int64_t position) const {
    return window > 0 && position >= window ? position - window + 1 : 0;
  }
};

// The work of a thread block, for each kv head: kAttentionTile query rows, or keys, of one sequence. Query rows are
// numbered by position, and within a position by the heads of the group: row = (position - past) * group + head,
// group = heads / kv_heads. So the heads that share keys share a tile, and positions ascend.
constexpr int64_t kAttentionTile = 64;
struct AttentionTile {
  int32_t sequence = 0;
  int32_t start = 0;  // the sequence's first row in q
  int32_t count = 0;  // its positions in this batch
  int32_t past = 0;   // positions before it, in the cache
  int32_t first = 0;  // the tile's first query row, or its first key (gradients of keys)
};

// "attention_forward/2"
struct AttentionForwardDeviceArgs {
  DType dtype = DType::f32;
  AttentionShape shape;
  const void* q = nullptr;  // [T, heads * head_dim]
  const void* k = nullptr;  // [T, kv_heads * head_dim], or null with pages
  const void* v = nullptr;
  void* o = nullptr;     // like q
  float* lse = nullptr;  // [T, heads]: log of the softmax's denominator, to the base that "attention_backward/2" takes
                         // it in; null where nothing is saved
  const AttentionTile* tiles = nullptr;  // [tile_count] of query rows
  int64_t tile_count = 0;
  const void* const* pages = nullptr;  // [sequences, pages_per_sequence]: addresses; PagedKeys has the layout
  int64_t pages_per_sequence = 0;
};

// "attention_backward/2"
struct AttentionBackwardDeviceArgs {
  DType dtype = DType::f32;
  AttentionShape shape;
  const void *q = nullptr, *k = nullptr, *v = nullptr, *o = nullptr, *dout = nullptr;
  const float* lse = nullptr;                        // [T, heads], from forward
  float* delta = nullptr;                            // [T, heads], workspace: dO . o
  void *dq = nullptr, *dk = nullptr, *dv = nullptr;  // null if the gradient is not required
  int64_t rows = 0;                                  // T
  const AttentionTile* query_tiles = nullptr;        // for dq
  const AttentionTile* key_tiles = nullptr;          // for dk and dv
  int64_t query_tile_count = 0, key_tile_count = 0;
};

// "store_keys/2"
struct StoreKeysDeviceArgs {
  DType dtype = DType::f32;
  AttentionShape shape;
  const void *k = nullptr, *v = nullptr;  // [T, kv_heads * head_dim]
  const int32_t* starts = nullptr;        // [sequences + 1]
  const int32_t* past = nullptr;          // [sequences]
  int64_t sequences = 0, rows = 0;        // rows: T
  void* const* pages = nullptr;           // [sequences, pages_per_sequence]
  int64_t pages_per_sequence = 0;
};

}  // namespace rubricate
