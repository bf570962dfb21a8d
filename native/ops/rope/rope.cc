#include "ops/rope/rope.h"

#include <cmath>

#include "ops/rope/rope_cpu.h"

namespace rubricate {
namespace {

Tensor rotate(Tape& tape, const Tensor& x, int64_t heads, const int32_t* positions, const RopeTable& table, DType out,
              bool backward) {
  Tensor y = tape.empty(x.shape(), out);
  rope_cpu({.x_dtype = x.dtype(),
            .y_dtype = out,
            .x = x.raw(),
            .y = y.raw(),
            .positions = positions,
            .cos = table.cos.data(),
            .sin = table.sin.data(),
            .rows = x.rows(),
            .heads = heads,
            .half = table.half,
            .backward = backward});
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

Var rope(Tape& tape, const Var& x, int64_t heads, const int32_t* positions, const RopeTable& table, DType out) {
  tape.check_cancelled("rope");
  check(x.value(), heads, positions, table, out);
  const bool wanted = tape.wants_grad(x);
  Tensor y = rotate(tape, x.value(), heads, positions, table, out, false);
  if (!wanted) return y;
  return tape.record("rope", std::move(y),
                     [slot = x.slot(), heads, positions, table = &table](Tape& tape, const Tensor& grad) {
                       tape.accumulate(slot, rotate(tape, grad, heads, positions, *table, slot->dtype, true));
                     });
}

}  // namespace rubricate
