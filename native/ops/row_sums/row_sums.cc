#include "ops/row_sums/row_sums.h"

#include <algorithm>

#include "base/integers.h"
#include "device/cpu/thread_pool.h"
#include "device/stream.h"
#include "ops/row_sums/row_sums_kernels.h"
#include "ops/shared/checks.h"

namespace rubricate {
namespace {

constexpr int64_t kBlockRows = kSumRows;
constexpr int64_t kRowsAtOnce = 8;                 // rows that are computed, then summed, while they are in the cache
constexpr int64_t kRoundBytes = int64_t{4} << 20;  // maximum of block sums in memory
constexpr int64_t kColumns = 512;                  // columns of a chunk of sums

struct Block {
  int64_t begin, end;
  int32_t slot;     // 0: not summed
  bool last;        // the last block of its sequence
  int64_t partial;  // index of its sums within its round, or -1
};

std::vector<Block> blocks_of(const RowSums& sums, const SequenceRows& rows) {
  std::vector<Block> blocks;
  for (int64_t s = 0; s < rows.sequences; ++s) {
    const int32_t slot = rows.slots[s];
    const auto index = static_cast<size_t>(slot);
    const bool summed = slot != 0 && (sums.products[index] != nullptr || sums.plain[index] != nullptr);
    const int64_t end = rows.starts[s + 1];
    for (int64_t begin = rows.starts[s]; begin < end; begin += kBlockRows)
      blocks.push_back({begin, std::min(begin + kBlockRows, end), summed ? slot : 0, begin + kBlockRows >= end, -1});
  }
  return blocks;
}

// The blocks [begin, end) whose sums are in memory together. Partials: [2][d] per block, products first.
class Round {
 public:
  Round(const RowSums& sums, std::vector<Block>& blocks, size_t begin, size_t end, float* partials, float* carry)
      : sums_(sums),
        blocks_(blocks),
        begin_(begin),
        end_(end),
        partials_(partials),
        carry_(carry),
        cols_(sums.grad.cols()) {}

  // One thread computes each block: it makes its rows, a few at a time, and sums them.
  void sum_by_blocks(const MakeRows& make_rows) {
    std::vector<size_t> cuts{begin_};  // chunks of blocks with enough rows to be worth a thread
    for (size_t i = begin_, rows = 0; i < end_; ++i) {
      rows += static_cast<size_t>(blocks_[i].end - blocks_[i].begin);
      if (static_cast<int64_t>(rows) < row_grain(cols_) && i + 1 < end_) continue;
      cuts.push_back(i + 1);
      rows = 0;
    }
    ThreadPool::instance().parallel_for(static_cast<int64_t>(cuts.size()) - 1, [&](int64_t chunk) {
      const auto c = static_cast<size_t>(chunk);
      for (size_t i = cuts[c]; i < cuts[c + 1]; ++i) sum_block(blocks_[i], make_rows);
    });
  }

  // The same sums, also split over columns: for rows that exist already.
  void sum_by_columns() {
    const int64_t ranges = ceil_div(cols_, kColumns);
    const auto blocks = static_cast<int64_t>(end_ - begin_);
    const int64_t grain = std::max<int64_t>(1, kElementGrain / (kBlockRows * std::clamp<int64_t>(cols_, 1, kColumns)));
    parallel_ranges(ranges * blocks, grain, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const Block& block = blocks_[begin_ + static_cast<size_t>(i / ranges)];
        const int64_t col = i % ranges * kColumns;
        sum_rows(block, block.begin, block.end, col, std::min(col + kColumns, cols_));
      }
    });
  }

  // Adds block sums to the current sequence's sum, and at the sequence's end adds that to its slot's gradient.
  void fold() {
    const int64_t ranges = ceil_div(cols_, kColumns);
    const auto blocks = static_cast<int64_t>(end_ - begin_);
    const int64_t grain = std::max<int64_t>(1, kElementGrain / (2 * blocks * kColumns));
    parallel_ranges(ranges, grain, [&](int64_t first, int64_t last) {
      fold_columns(first * kColumns, std::min(last * kColumns, cols_));
    });
  }

 private:
  void sum_block(const Block& block, const MakeRows& make_rows) {
    for (int64_t t = block.begin; t < block.end; t += kRowsAtOnce) {
      const int64_t end = std::min(t + kRowsAtOnce, block.end);
      make_rows(t, end);
      sum_rows(block, t, end, 0, cols_);
    }
  }

  void sum_rows(const Block& block, int64_t row_begin, int64_t row_end, int64_t col_begin, int64_t col_end) {
    if (block.partial < 0) return;
    const auto slot = static_cast<size_t>(block.slot);
    float* partial = partials_ + 2 * block.partial * cols_;
    RowSumsArgs args;
    args.dtype = sums_.grad.dtype();
    args.x = sums_.x.raw();
    args.grad = sums_.grad.raw();
    args.mean = sums_.mean;
    args.inv = sums_.inv;
    args.cols = cols_;
    args.row_begin = row_begin;
    args.row_end = row_end;
    args.col_begin = col_begin;
    args.col_end = col_end;
    args.first = row_begin == block.begin;
    args.products = sums_.products[slot] != nullptr ? partial : nullptr;
    args.plain = sums_.plain[slot] != nullptr ? partial + cols_ : nullptr;
    row_sums_cpu(args);
  }

  void fold_columns(int64_t begin, int64_t end) {
    for (size_t i = begin_; i < end_; ++i) {
      const Block& block = blocks_[i];
      if (block.partial < 0) continue;
      const auto slot = static_cast<size_t>(block.slot);
      for (const int part : {0, 1}) {
        float* gradient = part == 0 ? sums_.products[slot] : sums_.plain[slot];
        if (gradient == nullptr) continue;
        float* carry = carry_ + part * cols_;
        add_columns_cpu(carry, partials_ + (2 * block.partial + part) * cols_, begin, end);
        if (!block.last) continue;
        add_columns_cpu(gradient, carry, begin, end);
        std::fill(carry + begin, carry + end, 0.0f);
      }
    }
  }

  const RowSums& sums_;
  const std::vector<Block>& blocks_;
  size_t begin_, end_;
  float *partials_, *carry_;
  int64_t cols_;
};

}  // namespace

void accumulate_row_sums(Tape& tape, const RowSums& sums, const SequenceRows& rows, const MakeRows& make_rows) {
  if (Stream* stream = tape.stream())
    return sum_rounds_on_device(tape, sums, rows, {}, {}, [&](const SlotSumsArgs& args, int64_t, int64_t) {
      if (args.partials != nullptr) stream->run("row_sums/1", args);
    });
  const int64_t cols = sums.grad.cols();
  std::vector<Block> blocks = blocks_of(sums, rows);
  const int64_t most = std::clamp<int64_t>(kRoundBytes / std::max<int64_t>(1, 2 * 4 * cols), 16, 4096);
  const int64_t summed = std::count_if(blocks.begin(), blocks.end(), [](const Block& b) { return b.slot != 0; });
  // If there are fewer blocks than threads, all rows are made first, and then summed in chunks of columns too.
  if (summed == 0) {
    if (make_rows) parallel_ranges(rows.rows, row_grain(cols), make_rows);
    return;
  }
  const bool by_blocks = make_rows && static_cast<int64_t>(blocks.size()) >= 2 * ThreadPool::instance().size();
  if (make_rows && !by_blocks) parallel_ranges(rows.rows, row_grain(cols), make_rows);

  const Tensor partials = tape.empty({std::min(most, summed), 2, cols}, DType::f32);
  const Tensor carry = tape.zeros({2, cols}, DType::f32);
  for (size_t begin = 0, end = 0; begin < blocks.size(); begin = end) {
    for (int64_t used = 0; end < blocks.size(); ++end) {
      if (blocks[end].slot == 0) continue;
      if (used == most) break;
      blocks[end].partial = used++;
    }
    Round round(sums, blocks, begin, end, partials.data<float>(), carry.data<float>());
    by_blocks ? round.sum_by_blocks(make_rows) : round.sum_by_columns();
    round.fold();
  }
}

RowSums slot_sums(Tape& tape, const SlotVectors& slots, const SequenceRows& rows, const Tensor& h, const Tensor& grad) {
  RowSums sums;
  sums.x = h;
  sums.grad = grad;
  sums.products.resize(slots.slots.size());
  sums.plain.resize(slots.slots.size());
  for (int64_t i = 0; i < rows.sequences; ++i) {
    const auto s = static_cast<size_t>(rows.slots[i]);
    const SlotVectors::Vectors& vectors = slots.slots[s];
    if (vectors.scale.requires_grad()) sums.products[s] = tape.parameter_grad(vectors.scale.slot()).data<float>();
    if (vectors.bias.requires_grad()) sums.plain[s] = tape.parameter_grad(vectors.bias.slot()).data<float>();
  }
  return sums;
}

}  // namespace rubricate
