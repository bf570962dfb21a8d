#include "ops/sparse_delta/sparse_delta.h"

#include <algorithm>

#include "base/integers.h"
#include "device/cpu/thread_pool.h"
#include "device/stream.h"
#include "ops/elementwise/elementwise.h"
#include "ops/row_sums/row_sums_kernels.h"
#include "ops/shared/checks.h"
#include "ops/shared/scratch.h"
#include "ops/sparse_delta/sparse_delta_kernels.h"

namespace rubricate {
namespace {

constexpr int64_t kRoundBytes = int64_t{4} << 20;  // maximum of block sums in memory, if that is at least 16 blocks
constexpr int64_t kFoldEntries = 8192;             // entries of a chunk of sums

// Adjacent rows of one slot that has an update.
struct Run {
  int64_t begin = 0, end = 0;
  int32_t slot = 0;
};

const SparseUpdate& update_of(const SparseSlots& slots, int32_t slot) { return slots.slots[static_cast<size_t>(slot)]; }

std::vector<Run> runs_of(const SparseSlots& slots, const SequenceRows& rows) {
  std::vector<Run> runs;
  for_each_segment(rows, 0, rows.rows, [&](int64_t begin, int64_t end, int32_t slot) {
    if (!update_of(slots, slot).index.defined()) return;
    if (!runs.empty() && runs.back().slot == slot && runs.back().end == begin)
      runs.back().end = end;
    else
      runs.push_back({begin, end, slot});
  });
  return runs;
}

void check(const Tape& tape, const Tensor& y, const Tensor& x, const SparseSlots& slots, const SequenceRows& rows) {
  tape.check_cancelled("sparse_delta");
  require_floating(x, "x");
  require_floating(y, "y");
  require_place(tape, x, "x");
  require_place(tape, y, "y");
  const auto require_rows = [&](const Tensor& tensor, const char* name) {
    require(tensor.rank() == 2 && tensor.dim(0) == rows.rows, "ERR_SHAPE", "Expected ", rows.rows, " rows for ", name,
            " but received shape ", shape_text(tensor.shape()));
  };
  require_rows(x, "x");
  require_rows(y, "y");
  check_starts(rows.starts, rows.sequences, rows.rows, 0);
  check_slots(rows.slots, rows.sequences, static_cast<int64_t>(slots.slots.size()) - 1);
  for (const auto& [index, values] : slots.slots) {
    if (!index.defined()) continue;
    require(index.outputs() == y.cols() && index.inputs() == x.cols(), "ERR_SHAPE", "Expected entries of a matrix [",
            y.cols(), ", ", x.cols(), "] but received shape ", shape_text({index.outputs(), index.inputs()}));
    require(values.value().dtype() == DType::f32 && values.value().count() == index.count(), "ERR_SHAPE", "Expected ",
            index.count(), " values but received shape ", shape_text(values.value().shape()));
    require_place(tape, index.tables(), "index");
    require_place(tape, values.value(), "values");
  }
}

// Rows [begin, end) of one slot; on the CPU 64 at a time, and if these are too few for all threads, by outputs too.
void run_add(Tape& tape, SparseAddArgs args) {
  if (Stream* stream = tape.stream()) return stream->run("sparse_add/1", args);
  const int64_t tiles = ceil_div(args.end - args.begin, kSparseRows);
  const int64_t wanted = std::clamp<int64_t>(ThreadPool::instance().size() / tiles, 1, ceil_div(args.outputs, 16));
  const int64_t width = ceil_div(ceil_div(args.outputs, wanted), 16) * 16, parts = ceil_div(args.outputs, width);
  ThreadPool::instance().parallel_for(tiles * parts, [&](int64_t task) {
    static thread_local Scratch scratch;
    SparseAddArgs part = args;
    part.begin = args.begin + task / parts * kSparseRows;
    part.end = std::min(part.begin + kSparseRows, args.end);
    part.first = task % parts * width;
    part.last = std::min(part.first + width, args.outputs);
    part.scratch = scratch.reserve(sparse_scratch(args.inputs), "a sparse update");
    sparse_add_cpu(part);
  });
}

// A matrix by rows, as sparse_delta_kernels.h has it.
struct Entries {
  const int32_t *starts, *columns, *order;
};
Entries by_rows(const SparseIndex& index) { return {index.starts(), index.columns(), nullptr}; }
Entries by_columns(const SparseIndex& index) { return {index.column_starts(), index.rows(), index.order()}; }

// In the run's rows, or all of a fresh tensor, to += from S^T with the entries by rows, to += from S with those by columns.
void add_run(Tape& tape, const Tensor& to, const Tensor& from, const Entries& entries, const Var& values,
             const Run& run, bool fresh) {
  SparseAddArgs args;
  args.from_dtype = from.dtype();
  args.to_dtype = to.dtype();
  args.from = from.raw();
  args.to = to.raw();
  args.inputs = from.cols();
  args.outputs = to.cols();
  args.starts = entries.starts;
  args.columns = entries.columns;
  args.order = entries.order;
  args.values = values.value().data<float>();
  args.fresh = fresh;
  args.begin = run.begin;
  args.end = run.end;
  run_add(tape, args);
}

// The blocks of a slot's sequences, in their order.
std::vector<SparseBlock> blocks_of(const SequenceRows& rows, int32_t slot) {
  std::vector<SparseBlock> blocks;
  for (int64_t s = 0; s < rows.sequences; ++s) {
    if (rows.slots[s] != slot) continue;
    const int32_t end = rows.starts[s + 1];
    for (int32_t begin = rows.starts[s]; begin < end; begin += static_cast<int32_t>(kSparseRows)) {
      const int32_t stop = std::min(begin + static_cast<int32_t>(kSparseRows), end);
      blocks.push_back({begin, stop, stop == end ? 1 : 0});
    }
  }
  return blocks;
}

// The sums of blocks in memory, added to the sequence's sum, and at its end to the gradient.
void fold(const SparseBlock* blocks, int64_t count, const SparseSumsArgs& args) {
  parallel_ranges(args.count, kFoldEntries, [&](int64_t begin, int64_t end) {
    for (int64_t b = 0; b < count; ++b) {
      add_columns_cpu(args.carry, args.sums + b * args.count, begin, end);
      if (blocks[b].last == 0) continue;
      add_columns_cpu(args.gradient, args.carry, begin, end);
      std::fill(args.carry + begin, args.carry + end, 0.0f);
    }
  });
}

void run_sums(Tape& tape, const std::vector<SparseBlock>& blocks, SparseSumsArgs args) {
  const auto all = static_cast<int64_t>(blocks.size());
  const int64_t most = std::min(all, std::max<int64_t>(16, kRoundBytes / (4 * args.count)));
  const Tensor sums = tape.empty({most, args.count}, DType::f32), carry = tape.zeros({args.count}, DType::f32);
  args.sums = sums.data<float>();
  args.carry = carry.data<float>();
  for (int64_t begin = 0; begin < all; begin += most) {
    tape.check_cancelled();
    const SparseBlock* const first = blocks.data() + begin;
    const int64_t count = std::min(most, all - begin);
    if (Stream* stream = tape.stream()) {
      const Tensor uploaded = tape.upload(first, count * static_cast<int64_t>(sizeof(SparseBlock)));
      args.blocks = static_cast<const SparseBlock*>(uploaded.raw());
      args.block_count = count;
      stream->run("sparse_sums/1", args);
      continue;
    }
    ThreadPool::instance().parallel_for(count, [&](int64_t b) {
      static thread_local Scratch scratch;
      SparseSumsArgs block = args;
      block.begin = first[b].begin;
      block.end = first[b].end;
      block.sums = args.sums + b * args.count;
      block.scratch = scratch.reserve(sparse_scratch(args.inputs + args.outputs), "a sparse update's gradient");
      sparse_sums_cpu(block);
    });
    fold(first, count, args);
  }
}

struct Saved {
  Tensor x;
  std::vector<Run> runs;
  SparseSlots slots;
  SavedRows rows;
  std::shared_ptr<GradSlot> x_slot, y_slot;
};

// dv of each slot.
void add_gradients(Tape& tape, const Saved& saved, const Tensor& dy) {
  const SequenceRows rows = saved.rows.view();
  for (size_t s = 1; s < saved.slots.slots.size(); ++s) {
    const auto& [index, values] = saved.slots.slots[s];
    if (!index.defined() || !values.requires_grad()) continue;
    const std::vector<SparseBlock> blocks = blocks_of(rows, static_cast<int32_t>(s));
    if (blocks.empty()) continue;
    SparseSumsArgs args;
    args.x_dtype = saved.x.dtype();
    args.grad_dtype = dy.dtype();
    args.x = saved.x.raw();
    args.grad = dy.raw();
    args.inputs = index.inputs();
    args.outputs = index.outputs();
    args.count = index.count();
    args.starts = index.starts();
    args.columns = index.columns();
    args.gradient = tape.parameter_grad(values.slot()).data<float>();
    run_sums(tape, blocks, args);
  }
}

// Zeros that change no bits of what they are added to: -0 + x is x, also if x is -0.
Tensor neutral(Tape& tape, const Shape& shape, DType dtype) {
  return scale_by(tape, tape.zeros(shape, dtype), -1.0f).value();
}

}  // namespace

Var add_sparse(Tape& tape, Var y, const Var& x, const SparseSlots& slots, const SequenceRows& rows) {
  check(tape, y.value(), x.value(), slots, rows);
  std::vector<Run> runs = runs_of(slots, rows);
  if (runs.empty()) return y;
  bool wanted = tape.wants_grad(y, x);
  for (const SparseUpdate& own : slots.slots) wanted = tape.wants_grad({own.values.slot().get()}) || wanted;
  const auto y_slot = y.slot();
  Tensor sum = y.value().sole_owner() ? y.value() : y.value().copied_to(tape.arena());
  y = {};
  for (const Run& run : runs) {
    const auto& [index, values] = update_of(slots, run.slot);
    add_run(tape, sum, x.value(), by_rows(index), values, run, false);
  }
  if (!wanted) return sum;
  return tape.record("sparse_delta", std::move(sum),
                     [saved = Saved{x.value(), std::move(runs), slots, SavedRows(rows), x.slot(), y_slot}](
                         Tape& tape, const Tensor& dy) {
                       add_gradients(tape, saved, dy);
                       if (saved.x_slot) {
                         const bool all = saved.runs.front().end - saved.runs.front().begin == saved.x.rows();
                         const DType dtype = saved.x_slot->dtype;
                         const Tensor dx =
                             all ? tape.empty(saved.x.shape(), dtype) : neutral(tape, saved.x.shape(), dtype);
                         for (const Run& run : saved.runs) {
                           const auto& [index, values] = update_of(saved.slots, run.slot);
                           add_run(tape, dx, dy, by_columns(index), values, run, all);
                         }
                         tape.accumulate(saved.x_slot, dx);
                       }
                       tape.accumulate(saved.y_slot, dy);
                     });
}

}  // namespace rubricate
