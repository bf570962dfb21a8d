#include "ops/attention/attention_cpu.h"

#include <type_traits>
#include <utility>

#include "device/cpu/thread_pool.h"
#include "ops/shared/scratch.h"

namespace rubricate {
namespace {

// This thread's scratch memory for `count` fp32 numbers.
float* scratch(int64_t count) {
  static thread_local Scratch memory;
  return memory.reserve(count, "attention");
}

}  // namespace
}  // namespace rubricate

// GCC 12 reports the undefined operands in its own AVX-512 header as uninitialized variables.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#define RUBRICATE_KERNELS "ops/attention/attention_kernels.inl"
#include "device/cpu/simd/for_each_target.h"
#pragma GCC diagnostic pop

namespace rubricate {
namespace {

constexpr double kChunkCost = 5e5;         // multiply-adds, about 20 us
constexpr int64_t kChunkElements = 65536;  // of delta, about 10 us

void forward(const AttentionForwardArgs& args, const AttentionTask& task) {
  RUBRICATE_DISPATCH(attention_forward, args, task);
}

void backward(const AttentionBackwardArgs& args, const AttentionTask& task) {
  RUBRICATE_DISPATCH(attention_backward, args, task);
}

void delta(const AttentionBackwardArgs& args, int64_t begin, int64_t end) {
  RUBRICATE_DISPATCH(attention_delta, args, begin, end);
}

// Runs the tasks on the pool; short tasks are grouped.
template <typename Args>
void run_tasks(const Args& args, const std::vector<AttentionTask>& tasks,
               void (*run)(const Args&, const AttentionTask&)) {
  double total = 0;
  for (const AttentionTask& task : tasks) total += task.cost;
  const double count = static_cast<double>(tasks.size());
  const int64_t grain = static_cast<int64_t>(std::clamp(kChunkCost * count / std::max(total, 1.0), 1.0, count + 1));
  parallel_ranges(static_cast<int64_t>(tasks.size()), grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) run(args, tasks[static_cast<size_t>(i)]);
  });
}

// Stores keys in their page transposed, in panels of 16 keys, and values unchanged. T: an integer of the element's
// size.
template <typename T>
void store_block(const StoreKeysArgs& args, int64_t sequence, int64_t kv_head, int64_t begin, int64_t end) {
  const int64_t head_dim = args.shape.head_dim, kv_heads = args.shape.kv_heads, stride = kv_heads * head_dim;
  const int64_t past = args.cache.past[sequence], block = begin / kKeyBlock;
  const int32_t page = args.cache.page_table[sequence * args.cache.pages_per_sequence + block];
  char* layer = static_cast<char*>(args.cache.pages[page]) + args.cache.page_offset;
  T* keys = reinterpret_cast<T*>(layer) + kv_head * head_dim * kKeyBlock;
  T* values = keys + kv_heads * head_dim * kKeyBlock;
  const int64_t first = (args.starts[sequence] + begin - past) * stride + kv_head * head_dim;
  const T *k = static_cast<const T*>(args.k) + first, *v = static_cast<const T*>(args.v) + first;
  const int64_t slot = begin % kKeyBlock, count = end - begin;
  for (int64_t d = 0; d < head_dim; ++d)
    for (int64_t j = 0; j < count; ++j)
      keys[((slot + j) / 16 * head_dim + d) * 16 + (slot + j) % 16] = k[j * stride + d];
  for (int64_t j = 0; j < count; ++j) std::copy_n(v + j * stride, head_dim, values + (slot + j) * head_dim);
}

}  // namespace

void attention_forward_cpu(const AttentionForwardArgs& args, const std::vector<AttentionTask>& tasks) {
  run_tasks(args, tasks, &forward);
}

void attention_backward_cpu(const AttentionBackwardArgs& args, const std::vector<AttentionTask>& tasks) {
  parallel_ranges(args.rows * args.shape.heads, std::max<int64_t>(1, kChunkElements / args.shape.head_dim),
                  [&](int64_t begin, int64_t end) { delta(args, begin, end); });
  run_tasks(args, tasks, &backward);
}

void store_keys_cpu(const StoreKeysArgs& args) {
  const int64_t kv_heads = args.shape.kv_heads, rows = args.starts[args.sequences];
  const int64_t per_task = std::max<int64_t>(1, rows * args.shape.head_dim / std::max<int64_t>(1, args.sequences));
  const int64_t grain = std::max<int64_t>(1, kChunkElements / 4 / per_task);
  parallel_ranges(args.sequences * kv_heads, grain, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t s = i / kv_heads, past = args.cache.past[s], end = past + args.starts[s + 1] - args.starts[s];
      for (int64_t begin = past, next; begin < end; begin = next) {
        next = std::min(end, (begin / kKeyBlock + 1) * kKeyBlock);
        if (args.dtype == DType::bf16)
          store_block<uint16_t>(args, s, i % kv_heads, begin, next);
        else
          store_block<uint32_t>(args, s, i % kv_heads, begin, next);
      }
    }
  });
}

}  // namespace rubricate
