#include <algorithm>

#include "ops/attention/attention_cpu.h"

#include "base/integers.h"

namespace rubricate {
namespace {

// Query rows of a task: enough to pay for packing each key block, few enough to stay in the L2 cache. The forward uses
// fewer if that gives every thread several tasks.
constexpr int64_t kMostTileRows = 256, kLeastTileRows = 32;
constexpr int64_t kTasksPerThread = 4;
constexpr int64_t kQueryTileRows = 192;
// Maximum elements of dq in a task's scratch memory (4 MiB).
constexpr int64_t kMaxHeldGradient = int64_t{1} << 20;

// The (row, key) pairs of rows [begin, end), about.
double pairs(const AttentionShape& shape, int64_t past, int64_t begin, int64_t end) {
  const int64_t group = shape.heads / shape.kv_heads, limit = shape.window > 0 ? shape.window : INT32_MAX;
  const double first = static_cast<double>(std::min(past + begin / group + 1, limit));
  const double last = static_cast<double>(std::min(past + (end - 1) / group + 1, limit));
  return 0.5 * (first + last) * static_cast<double>(end - begin);
}

void longest_first(std::vector<AttentionTask>& tasks) {
  std::stable_sort(tasks.begin(), tasks.end(),
                   [](const AttentionTask& a, const AttentionTask& b) { return a.cost > b.cost; });
}

}  // namespace

std::vector<AttentionTask> forward_tasks(const AttentionShape& shape, int64_t sequences, const int32_t* starts,
                                         const int32_t* past, int threads) {
  const int64_t group = shape.heads / shape.kv_heads;
  const auto count_tasks = [&](int64_t tile) {
    int64_t count = 0;
    for (int64_t s = 0; s < sequences; ++s) count += ceil_div((starts[s + 1] - starts[s]) * group, tile);
    return count * shape.kv_heads;
  };
  int64_t tile = kMostTileRows;
  while (threads > 1 && tile > kLeastTileRows && count_tasks(tile) < kTasksPerThread * threads) tile /= 2;

  std::vector<AttentionTask> tasks;
  for (int64_t s = 0; s < sequences; ++s) {
    const int64_t rows = (starts[s + 1] - starts[s]) * group, before = past != nullptr ? past[s] : 0;
    for (int64_t begin = 0; begin < rows; begin += tile) {
      AttentionTask task{.sequence = s, .row_begin = begin, .row_end = std::min(rows, begin + tile)};
      const double keys =
          static_cast<double>(before + (task.row_end - 1) / group + 1 - shape.first_key(before + begin / group));
      // Two matmuls, and reading and packing every key.
      task.cost = static_cast<double>(shape.head_dim) * (2 * pairs(shape, before, begin, task.row_end) + 8 * keys);
      for (task.kv_head = 0; task.kv_head < shape.kv_heads; ++task.kv_head) tasks.push_back(task);
    }
  }
  longest_first(tasks);
  return tasks;
}

std::vector<AttentionTask> backward_tasks(const AttentionShape& shape, int64_t sequences, const int32_t* starts,
                                          bool queries, bool keys, int threads) {
  const int64_t group = shape.heads / shape.kv_heads, width = (shape.head_dim + 15) / 16 * 16;
  const double heads = static_cast<double>(shape.kv_heads), depth = static_cast<double>(shape.head_dim);
  double total = 0, longest = 0;
  int64_t most_rows = 0;
  for (int64_t s = 0; s < sequences; ++s) {
    const int64_t rows = (starts[s + 1] - starts[s]) * group;
    if (rows == 0) continue;
    const double cost = pairs(shape, 0, 0, rows);
    total += cost * heads;
    longest = std::max(longest, cost);
    most_rows = std::max(most_rows, rows);
  }
  // Together: five matmuls. Separately: three for dq, four for dk and dv.
  const bool together = queries && keys && most_rows * width <= kMaxHeldGradient &&
                        5 * std::max(longest, total / threads) <= 7 * total / threads;

  std::vector<AttentionTask> tasks;
  const auto push = [&](AttentionTask task) {
    for (task.kv_head = 0; task.kv_head < shape.kv_heads; ++task.kv_head) tasks.push_back(task);
  };
  for (int64_t s = 0; s < sequences; ++s) {
    const int64_t rows = (starts[s + 1] - starts[s]) * group;
    if (rows == 0) continue;
    const int64_t length = rows / group, blocks = ceil_div(length, kKeyBlock);
    AttentionTask task{.sequence = s, .row_end = rows, .block_end = blocks, .queries = queries, .keys = keys};
    if (together) {
      task.cost = 5 * depth * pairs(shape, 0, 0, rows);
      push(task);
      continue;
    }
    for (int64_t begin = 0; queries && begin < rows; begin += kQueryTileRows) {
      AttentionTask tile = task;
      tile.keys = false;
      tile.row_begin = begin;
      tile.row_end = std::min(rows, begin + kQueryTileRows);
      tile.block_begin = shape.first_key(begin / group) / kKeyBlock;
      tile.block_end = (tile.row_end - 1) / group / kKeyBlock + 1;
      tile.cost = 3 * depth * pairs(shape, 0, begin, tile.row_end);
      push(tile);
    }
    for (int64_t b = 0; keys && b < blocks; ++b) {
      AttentionTask block = task;
      block.queries = false;
      block.block_begin = b;
      block.block_end = b + 1;
      const int64_t seen_by = rows - b * kKeyBlock * group;  // rows
      const int64_t most = shape.window > 0 ? (kKeyBlock - 1 + shape.window) * group : seen_by;
      block.cost = 4 * depth * static_cast<double>(kKeyBlock * std::min(seen_by, most));
      push(block);
    }
  }
  longest_first(tasks);
  return tasks;
}

}  // namespace rubricate
