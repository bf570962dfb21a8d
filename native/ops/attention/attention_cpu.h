// Arguments of the CPU kernels of attention.h, and how their work is cut into tasks.
//
// A task looks at one sequence and one kv head. Its query rows are numbered position by position, and within a position
// by the heads of the group: row = (position - past) * group + head, group = heads / kv_heads. So positions ascend with
// the rows, and all heads that share a key block are computed while it lies in the cache.
#pragma once

#include <cstdint>
#include <vector>

#include "base/dtype.h"
#include "ops/attention/attention.h"

namespace rubricate {

// Where key block b of a sequence lies: in flat rows, or in pages where `pages` is set (layout: PagedKeys).
struct KeySource {
  const void* k = nullptr;  // [T, kv_heads * head_dim]
  const void* v = nullptr;  // [T, kv_heads * head_dim]
  void* const* pages = nullptr;
  const int32_t* page_table = nullptr;
  int64_t pages_per_sequence = 0;
  const int32_t* past = nullptr;  // [sequences], with pages
};

struct AttentionTask {
  int64_t sequence = 0, kv_head = 0;
  int64_t row_begin = 0, row_end = 0;      // query rows
  int64_t block_begin = 0, block_end = 0;  // key blocks (backward)
  bool queries = false, keys = false;      // backward: which gradients this task owns
  double cost = 0.0;                       // multiply-adds
};

struct AttentionForwardArgs {
  DType dtype = DType::f32;
  AttentionShape shape;
  const void* q = nullptr;          // [T, heads * head_dim]
  void* o = nullptr;                // like q
  float* lse = nullptr;             // [T, heads]: log of the softmax's denominator; null where nothing is saved
  const int32_t* starts = nullptr;  // [sequences + 1]
  KeySource source;
};

struct AttentionBackwardArgs {
  DType dtype = DType::f32;
  AttentionShape shape;
  const void *q = nullptr, *k = nullptr, *v = nullptr, *o = nullptr, *dout = nullptr;
  const float* lse = nullptr;                        // [T, heads], from forward
  float* delta = nullptr;                            // [T, heads], workspace: dO . o
  void *dq = nullptr, *dk = nullptr, *dv = nullptr;  // null where no gradient is wanted
  const int32_t* starts = nullptr;                   // [sequences + 1]
  int64_t rows = 0;                                  // T
};

struct StoreKeysArgs {
  DType dtype = DType::f32;
  AttentionShape shape;
  const void *k = nullptr, *v = nullptr;  // [T, kv_heads * head_dim]
  const int32_t* starts = nullptr;        // [sequences + 1]
  int64_t sequences = 0;
  KeySource cache;
};

// Tiles of query rows, the longest first. past: as in KeySource, or null.
std::vector<AttentionTask> forward_tasks(const AttentionShape& shape, int64_t sequences, const int32_t* starts,
                                         const int32_t* past, int threads);
// A whole (sequence, kv head) at once computes scores once for dq, dk and dv; where that leaves threads idle, tiles of
// query rows give dq and key blocks give dk and dv, each with scores of its own. Both sum in the same order.
std::vector<AttentionTask> backward_tasks(const AttentionShape& shape, int64_t sequences, const int32_t* starts,
                                          bool queries, bool keys, int threads);

void attention_forward_cpu(const AttentionForwardArgs& args, const std::vector<AttentionTask>& tasks);
void attention_backward_cpu(const AttentionBackwardArgs& args, const std::vector<AttentionTask>& tasks);
void store_keys_cpu(const StoreKeysArgs& args);

}  // namespace rubricate
