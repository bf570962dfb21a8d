// Arguments of the CPU kernels of attention.h, and how the work is split into tasks.
//
// A task covers one sequence and one kv head. Its query rows are numbered by position, and within a position by the
// heads of the group: row = (position - past) * group + head, group = heads / kv_heads. So positions ascend with the
// rows, and all heads that share a key block are computed while the block is in the cache.
#pragma once

#include <cstdint>
#include <vector>

#include "base/dtype.h"
#include "ops/attention/attention.h"

namespace rubricate {

// Where key block b of a sequence is stored: in flat rows, or in pages if `pages` is set (layout: PagedKeys).
struct KeySource {
  const void* k = nullptr;  // [T, kv_heads * head_dim]
  const void* v = nullptr;  // [T, kv_heads * head_dim]
  void* const* pages = nullptr;
  int64_t page_offset = 0;  // bytes from a page's address to the layer's keys
  const int32_t* page_table = nullptr;
  int64_t pages_per_sequence = 0;
  const int32_t* past = nullptr;  // [sequences], with pages
};

struct AttentionTask {
  int64_t sequence = 0, kv_head = 0;
  int64_t row_begin = 0, row_end = 0;      // query rows
  int64_t block_begin = 0, block_end = 0;  // key blocks (backward)
  bool queries = false, keys = false;      // backward: the gradients that this task computes
  double cost = 0.0;                       // multiply-adds
};

struct AttentionForwardArgs {
  DType dtype = DType::f32;
  AttentionShape shape;
  const void* q = nullptr;          // [T, heads * head_dim]
  void* o = nullptr;                // like q
  float* lse = nullptr;             // [T, heads]: log of the softmax's denominator; null if nothing is saved
  const int32_t* starts = nullptr;  // [sequences + 1]
  KeySource source;
};

struct AttentionBackwardArgs {
  DType dtype = DType::f32;
  AttentionShape shape;
  const void *q = nullptr, *k = nullptr, *v = nullptr, *o = nullptr, *dout = nullptr;
  const float* lse = nullptr;                        // [T, heads], from forward
  float* delta = nullptr;                            // [T, heads], workspace: dO . o
  void *dq = nullptr, *dk = nullptr, *dv = nullptr;  // null if the gradient is not required
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
// One task per (sequence, kv head) computes the scores once for dq, dk and dv. If that leaves threads idle, tiles of
// query rows compute dq and key blocks compute dk and dv, and both compute the scores. Both ways sum in the same order.
std::vector<AttentionTask> backward_tasks(const AttentionShape& shape, int64_t sequences, const int32_t* starts,
                                          bool queries, bool keys, int threads);

void attention_forward_cpu(const AttentionForwardArgs& args, const std::vector<AttentionTask>& tasks);
void attention_backward_cpu(const AttentionBackwardArgs& args, const std::vector<AttentionTask>& tasks);
void store_keys_cpu(const StoreKeysArgs& args);

}  // namespace rubricate
