#include "ops/rope/rope.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "device/cpu/thread_pool.h"
#include "device/stream.h"
#include "ops/rope/rope_kernels.h"
#include "ops/shared/checks.h"
#include "ops/shared/device_copies.h"

namespace rubricate {
namespace {

Tensor rotate(Tape& tape, const Tensor& x, int64_t heads, const int32_t* positions, const RopeValues& table, DType out,
              bool backward, const std::shared_ptr<DeviceCopies>& copies) {
  Tensor y = tape.empty(x.shape(), out);
  RopeArgs args{.x_dtype = x.dtype(),
                .y_dtype = out,
                .x = x.raw(),
                .y = y.raw(),
                .positions = positions,
                .cos = table.cos.data(),
                .sin = table.sin.data(),
                .rows = x.rows(),
                .heads = heads,
                .half = table.half,
                .head_dim = x.cols() / heads,
                .backward = backward};
  if (Stream* stream = tape.stream()) {
    const Tensor there = table.on_device(tape);
    const auto placed = device_copy(tape, copies, DeviceCopies::Table::positions, 0,
                                    [&] { return std::vector<int32_t>(positions, positions + x.rows()); });
    args.positions = placed.memory.data<int32_t>();
    args.cos = there.data<float>();
    args.sin = args.cos + table.positions * table.half;
    stream->run("rope/2", args);
  } else {
    rope_cpu(args);
  }
  return y;
}

// Checks the arguments and returns the number of positions that they need.
int64_t checked_reach(const Tensor& x, int64_t heads, const int32_t* positions, const RopeTable& table, DType out) {
  for (const DType dtype : {x.dtype(), out})
    require(dtype == DType::f32 || dtype == DType::bf16, "ERR_DTYPE",
            "Expected float32 or bfloat16 for x and the output of rope but received ", dtype_name(dtype));
  const int64_t head_dim = table.head_dim();
  require(heads > 0 && x.rank() == 2 && x.cols() == heads * head_dim, "ERR_SHAPE", "Expected [T, ", heads, " * ",
          head_dim, "] for x but received ", shape_text(x.shape()));
  int32_t last = 0;
  for (int64_t row = 0; row < x.rows(); ++row) {
    require(positions[row] >= 0 && positions[row] < table.positions(), "ERR_CONTEXT_LENGTH",
            "Expected positions below ", table.positions(), " but received ", positions[row]);
    last = std::max(last, positions[row]);
  }
  return int64_t{last} + 1;
}

// cos and sin of `positions` positions. `earlier` (may be null) has the first of them.
std::shared_ptr<const RopeValues> extended(const RopeValues* earlier, const std::vector<float>& inv_freq, float factor,
                                           int64_t positions) {
  auto values = std::make_shared<RopeValues>();
  const auto half = static_cast<int64_t>(inv_freq.size());
  values->half = half;
  values->positions = positions;
  for (auto part : {&RopeValues::cos, &RopeValues::sin}) {
    std::vector<float>& all = (*values).*part;
    all.reserve(static_cast<size_t>(positions * half));
    if (earlier != nullptr) all = earlier->*part;  // does not reallocate
    all.resize(static_cast<size_t>(positions * half));
  }
  const int64_t from = earlier != nullptr ? earlier->positions : 0;
  constexpr int64_t kGrainAngles = 2048;  // about 60 us
  parallel_ranges(positions - from, std::max<int64_t>(1, kGrainAngles / half), [&](int64_t begin, int64_t end) {
    for (int64_t position = from + begin; position < from + end; ++position)
      for (int64_t i = 0; i < half; ++i) {
        const auto at = static_cast<size_t>(position * half + i);
        const float angle = static_cast<float>(position) * inv_freq[static_cast<size_t>(i)];
        values->cos[at] = static_cast<float>(std::cos(static_cast<double>(angle)) * factor);
        values->sin[at] = static_cast<float>(std::sin(static_cast<double>(angle)) * factor);
      }
  });
  return values;
}

}  // namespace

RopeTable RopeTable::make(std::vector<float> inv_freq, float factor, int64_t positions, int64_t head_dim) {
  require(!inv_freq.empty() && positions > 0, "ERR_SHAPE",
          "Expected at least one frequency and one position but received ", inv_freq.size(), " and ", positions);
  const int64_t rotated = 2 * static_cast<int64_t>(inv_freq.size());
  if (head_dim == 0) head_dim = rotated;
  require(head_dim >= rotated, "ERR_SHAPE", "Expected a head of ", rotated, " components or more for ", inv_freq.size(),
          " frequencies but received ", head_dim);
  RopeTable table;
  table.state_ = std::make_shared<State>();
  table.state_->inv_freq = std::move(inv_freq);
  table.state_->factor = factor;
  table.state_->positions = positions;
  table.state_->head_dim = head_dim;
  return table;
}

std::shared_ptr<const RopeValues> RopeTable::current() const {
  const std::lock_guard guard(state_->lock);
  return state_->values;
}

std::shared_ptr<const RopeValues> RopeTable::covering(int64_t needed) const {
  require(needed <= state_->positions, "ERR_INTERNAL", "Expected at most ", state_->positions,
          " positions but received ", needed);
  const std::shared_ptr<const RopeValues> earlier = current();
  if (earlier && earlier->positions >= needed) return earlier;
  const int64_t step = std::min(earlier ? 2 * earlier->positions : kFirstPositions, state_->positions);
  // Without the lock: memory_bytes() must not wait for this.
  auto values = extended(earlier.get(), state_->inv_freq, state_->factor, std::max(needed, step));
  const std::lock_guard guard(state_->lock);
  if (!state_->values || state_->values->positions < values->positions) state_->values = values;
  return values;
}

Tensor RopeValues::on_device(const Tape& tape) const {
  const std::lock_guard guard(lock_);
  for (const Tensor& copy : copies_)
    if (copy.stream() == tape.stream()) return copy;
  // In an arena of its own: the tape's may be a job's.
  const auto arena = std::make_shared<Arena>(tape.arena()->shared_stream());
  const Tensor copy = Tensor::empty(arena, {2, positions, half}, DType::f32);
  const int64_t bytes = copy.bytes() / 2;
  tape.stream()->upload(copy.raw(), cos.data(), bytes);
  tape.stream()->upload(copy.data<float>() + positions * half, sin.data(), bytes);
  copies_.push_back(copy);
  device_bytes_ += copy.bytes();
  return copy;
}

Var rope(Tape& tape, const Var& x, int64_t heads, const int32_t* positions, const RopeTable& table, DType out,
         const std::shared_ptr<DeviceCopies>& copies) {
  tape.check_cancelled("rope");
  const int64_t reach = checked_reach(x.value(), heads, positions, table, out);
  require_place(tape, x.value(), "x");
  const bool wanted = tape.wants_grad(x);
  const std::shared_ptr<const RopeValues> values = table.covering(reach);
  Tensor y = rotate(tape, x.value(), heads, positions, *values, out, false, copies);
  if (!wanted) return y;
  return tape.record("rope", std::move(y),
                     [slot = x.slot(), heads, positions, values, copies](Tape& tape, const Tensor& grad) {
                       tape.accumulate(slot, rotate(tape, grad, heads, positions, *values, slot->dtype, true, copies));
                     });
}

}  // namespace rubricate
