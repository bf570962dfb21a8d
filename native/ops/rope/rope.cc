#include "ops/rope/rope.h"

#include <cmath>
#include <mutex>

#include "device/stream.h"
#include "ops/checks.h"
#include "ops/rope/rope_cpu.h"

namespace rubricate {
namespace {

Tensor rotate(Tape& tape, const Tensor& x, int64_t heads, const int32_t* positions, const RopeTable& table, DType out,
              bool backward) {
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
                .backward = backward};
  if (Stream* stream = tape.stream()) {
    const Tensor there = table.on_device(tape);
    const Tensor placed = tape.uploaded(positions, x.rows() * static_cast<int64_t>(sizeof(int32_t)));
    args.positions = placed.data<int32_t>();
    args.cos = there.data<float>();
    args.sin = args.cos + table.positions * table.half;
    stream->run("rope/1", args);
  } else {
    rope_cpu(args);
  }
  return y;
}

void check(const Tensor& x, int64_t heads, const int32_t* positions, const RopeTable& table, DType out) {
  for (const DType dtype : {x.dtype(), out})
    require(dtype == DType::f32 || dtype == DType::bf16, "ERR_DTYPE",
            "Expected float32 or bfloat16 for x and the output of rope but received ", dtype_name(dtype));
  require(heads > 0 && table.half > 0 && x.rank() == 2 && x.cols() == heads * 2 * table.half, "ERR_SHAPE",
          "Expected [T, ", heads, " * ", 2 * table.half, "] for x but received ", shape_text(x.shape()));
  for (int64_t row = 0; row < x.rows(); ++row)
    require(positions[row] >= 0 && positions[row] < table.positions, "ERR_CONTEXT_LENGTH", "Expected positions below ",
            table.positions, " but received ", positions[row]);
}

}  // namespace

RopeTable RopeTable::make(const std::vector<float>& inv_freq, float factor, int64_t positions) {
  require(!inv_freq.empty() && positions > 0, "ERR_SHAPE",
          "Expected at least one frequency and one position but received ", inv_freq.size(), " and ", positions);
  RopeTable table;
  table.half = static_cast<int64_t>(inv_freq.size());
  table.positions = positions;
  table.cos.reserve(inv_freq.size() * static_cast<size_t>(positions));
  table.sin.reserve(inv_freq.size() * static_cast<size_t>(positions));
  for (int64_t position = 0; position < positions; ++position) {
    for (const float frequency : inv_freq) {
      const float angle = static_cast<float>(position) * frequency;
      table.cos.push_back(static_cast<float>(std::cos(static_cast<double>(angle)) * factor));
      table.sin.push_back(static_cast<float>(std::sin(static_cast<double>(angle)) * factor));
    }
  }
  return table;
}

Tensor RopeTable::on_device(const Tape& tape) const {
  const std::lock_guard guard(copies_->lock);
  for (const Tensor& copy : copies_->tensors)
    if (copy.stream() == tape.stream()) return copy;
  // Memory of its own arena: the tape's may be a job's.
  const auto arena = std::make_shared<Arena>(tape.arena()->shared_stream());
  const Tensor copy = Tensor::empty(arena, {2, positions, half}, DType::f32);
  const int64_t bytes = copy.bytes() / 2;
  tape.stream()->upload(copy.raw(), cos.data(), bytes);
  tape.stream()->upload(copy.data<float>() + positions * half, sin.data(), bytes);
  copies_->tensors.push_back(copy);
  return copy;
}

Var rope(Tape& tape, const Var& x, int64_t heads, const int32_t* positions, const RopeTable& table, DType out) {
  tape.check_cancelled("rope");
  check(x.value(), heads, positions, table, out);
  require_place(tape, x.value(), "x");
  const bool wanted = tape.wants_grad(x);
  Tensor y = rotate(tape, x.value(), heads, positions, table, out, false);
  if (!wanted) return y;
  return tape.record("rope", std::move(y),
                     [slot = x.slot(), heads, positions, table = &table](Tape& tape, const Tensor& grad) {
                       tape.accumulate(slot, rotate(tape, grad, heads, positions, *table, slot->dtype, true));
                     });
}

}  // namespace rubricate
