#include "ops/rope/rope.h"

#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

std::vector<float> frequencies(int64_t half) {
  std::vector<float> inv_freq;
  for (int64_t i = 0; i < half; ++i)
    inv_freq.push_back(std::pow(10000.0f, -static_cast<float>(i) / static_cast<float>(half)));
  return inv_freq;
}

struct Case {
  int64_t rows, heads, half, head_dim;
};
const Case kCases[] = {{1, 1, 1, 2},      {3, 2, 5, 10},     {7, 3, 16, 32}, {5, 4, 32, 64}, {2, 1, 40, 80},
                       {301, 3, 64, 128}, {33, 40, 64, 128}, {3, 2, 5, 11},  {5, 3, 16, 64}, {4, 2, 24, 128}};

// The largest error of `got`, less what two rounded products, a rounded sum and the store allow. turn: 1, or -1 for the
// opposite angle.
double worst_error(const Tensor& result, const Tensor& x, const Case& c, const std::vector<int32_t>& positions,
                   const RopeValues& table, double turn) {
  double worst = 0;
  const Tensor got = fetched(result);
  for (int64_t t = 0; t < c.rows; ++t) {
    for (int64_t head = 0; head < c.heads; ++head) {
      for (int64_t i = 0; i < c.half; ++i) {
        const int64_t a = (t * c.heads + head) * c.head_dim + i, b = a + c.half;
        const size_t at = static_cast<size_t>(positions[static_cast<size_t>(t)] * c.half + i);
        const double cos = table.cos[at], sin = turn * table.sin[at];
        const auto miss = [&](int64_t where, double p, double q) {
          const double allowed =
              0x1p-23 * (std::abs(p) + std::abs(q)) + unit_roundoff(got.dtype()) * std::abs(p + q) + 0x1p-140;
          worst = std::max(worst, std::abs(element(got, where) - (p + q)) / allowed);
        };
        miss(a, element(x, a) * cos, -element(x, b) * sin);
        miss(b, element(x, b) * cos, element(x, a) * sin);
      }
      for (int64_t i = 2 * c.half; i < c.head_dim; ++i) {
        const int64_t at = (t * c.heads + head) * c.head_dim + i;
        const double error = std::abs(element(got, at) - element(x, at));
        if (error > unit_roundoff(got.dtype()) * std::abs(element(x, at))) worst = std::max(worst, 2.0);
      }
    }
  }
  return worst;
}

}  // namespace

TEST_CASE("rope's table holds cosine and sine of the fp32 angle, times the factor, for any steps of growth") {
  const std::vector<float> inv_freq = frequencies(6);
  const RopeTable table = RopeTable::make(inv_freq, 1.25f, int64_t{1} << 24);
  CHECK(table.half() == 6);
  CHECK(table.positions() == int64_t{1} << 24);
  CHECK(table.current() == nullptr);
  const auto first = table.covering(1);
  CHECK(first->positions == RopeTable::kFirstPositions);
  CHECK(table.covering(2) == first);
  CHECK(table.covering(first->positions) == first);
  const auto second = table.covering(first->positions + 1);  // the first values are unchanged
  CHECK(second->positions == 2 * first->positions);
  CHECK(table.covering(20000)->positions == 20000);
  CHECK(table.current()->host_bytes() == int64_t{20000} * 6 * 8);
  for (const auto& values : {first, second, table.current()}) {
    REQUIRE(values->cos.size() == static_cast<size_t>(values->positions * 6));
    REQUIRE(values->sin.size() == values->cos.size());
    bool right = true;
    for (int64_t position = 0; position < values->positions; ++position)
      for (size_t i = 0; i < 6; ++i) {
        const auto angle = static_cast<double>(static_cast<float>(position) * inv_freq[i]);
        const size_t at = static_cast<size_t>(position) * 6 + i;
        right = right && values->cos[at] == static_cast<float>(1.25 * std::cos(angle)) &&
                values->sin[at] == static_cast<float>(1.25 * std::sin(angle));
      }
    CHECK(right);
  }
  const RopeTable shorter = RopeTable::make(inv_freq, 1.0f, 3000);
  shorter.covering(1);
  CHECK(shorter.covering(2049)->positions == 3000);
  CHECK(RopeTable::make(inv_freq, 1.0f, 10).covering(1)->positions == 10);
  CHECK(error_code([&] { RopeTable::make(inv_freq, 1.0f, 10).covering(11); }) == "ERR_INTERNAL");
  CHECK(error_code([] { RopeTable::make({}, 1.0f, 4); }) == "ERR_SHAPE");
  CHECK(error_code([] { RopeTable::make({1.0f}, 1.0f, 0); }) == "ERR_SHAPE");
  CHECK(error_code([] { RopeTable::make({1.0f, 1.0f}, 1.0f, 4, 3); }) == "ERR_SHAPE");
}

TEST_CASE("rope's backward keeps the values of its forward when the table grows in between") {
  const int32_t near[] = {0, 7}, far[] = {0, 9000};
  const Tensor x = random_tensor(test_arena(), {2, 12}, DType::f32, 3);
  const auto gradient = [&](bool grows) {
    const RopeTable table = RopeTable::make(frequencies(6), 1.0f, 10000);
    Tape tape(device_arena(), Tape::Mode::training), other(device_arena(), Tape::Mode::inference);
    const Var in = leaf(placed(x)), y = rope(tape, in, 1, near, table, DType::f32);
    if (grows) rope(other, placed(x), 1, far, table, DType::f32);
    tape.backward(y, placed(x));
    return fetched(in.grad());
  };
  on_every_device([&] { CHECK(same_bits(gradient(true), gradient(false))); });
}

TEST_CASE("rope and its gradient against double, on every path, dtype and pool size; a row alone has the same bits") {
  const auto arena = test_arena();
  for (const Case& c : kCases) {
    const RopeTable table = RopeTable::make(frequencies(c.half), 1.0f, 2048, c.head_dim);
    std::vector<int32_t> positions;
    for (int64_t t = 0; t < c.rows; ++t) positions.push_back(static_cast<int32_t>((t * 37 + 5) % 2048));
    for (const auto& [dtype, out] : {std::pair(DType::f32, DType::f32), std::pair(DType::bf16, DType::bf16),
                                     std::pair(DType::f32, DType::bf16), std::pair(DType::bf16, DType::f32)}) {
      const Tensor x = random_tensor(arena, {c.rows, c.heads * c.head_dim}, dtype, 1, -2, 2);
      const Tensor g = random_tensor(arena, x.shape(), out, 2, -2, 2);
      CAPTURE(c.rows);
      CAPTURE(c.half);
      Tensor first_y, first_dx;  // of a pool of one thread, then of the current path
      on_every_device([&] {
        Tape tape(device_arena(), Tape::Mode::training);
        const Var in = leaf(placed(x)), y = rope(tape, in, c.heads, positions.data(), table, out);
        tape.backward(y, placed(g));
        if (present_device() || ThreadPool::instance().size() == 1) {
          first_y = y.value();
          first_dx = in.grad();
          CHECK(worst_error(first_y, x, c, positions, *table.current(), 1.0) <= 1.0);
          CHECK(worst_error(first_dx, g, c, positions, *table.current(), -1.0) <= 1.0);
        }
        CHECK(y.value().dtype() == out);
        CHECK(in.grad().dtype() == in.slot()->dtype);
        CHECK(same_bits(y.value(), first_y));
        CHECK(same_bits(in.grad(), first_dx));
        const int64_t row = c.rows - 1;
        Tape other(device_arena(), Tape::Mode::inference);
        const Var alone = rope(other, placed(copy_rows(arena, x, row, c.rows)), c.heads, &positions.back(), table, out);
        CHECK(same_bits(alone.value(), copy_rows(arena, first_y, row, c.rows)));
      });
    }
  }
}

TEST_CASE("rope: on a device, the same bits in every order of threads and blocks") {
  const RopeTable table = RopeTable::make(frequencies(18), 1.0f, 64, 48);
  const Tensor x = random_tensor(test_arena(), {9, 3 * 48}, DType::bf16, 1);
  const int32_t positions[] = {0, 1, 2, 3, 0, 1, 63, 62, 61};
  on_every_order([&] {
    Tape tape(device_arena(), Tape::Mode::inference);
    return std::vector<Tensor>{rope(tape, placed(x), 3, positions, table, DType::f32).value()};
  });
}

TEST_CASE("rope refuses wrong shapes, dtypes, positions and values of another tape") {
  const auto arena = test_arena();
  Tape tape(arena, Tape::Mode::training), other(arena, Tape::Mode::training);
  const RopeTable table = RopeTable::make(frequencies(4), 1.0f, 10);
  const int32_t fine[] = {0, 9}, beyond[] = {0, 10}, negative[] = {-1, 0};
  const Tensor x = Tensor::zeros(arena, {2, 16}, DType::f32);
  const auto code = [&](const Var& value, int64_t heads, const int32_t* positions, DType out = DType::f32) {
    return error_code([&] { rope(tape, value, heads, positions, table, out); });
  };
  CHECK(code(x, 2, fine) == "");
  CHECK(code(x, 3, fine) == "ERR_SHAPE");
  CHECK(code(x, 0, fine) == "ERR_SHAPE");
  CHECK(code(x.reshaped({2, 2, 8}), 2, fine) == "ERR_SHAPE");
  CHECK(code(Tensor::zeros(arena, {2, 16}, DType::i32), 2, fine) == "ERR_DTYPE");
  CHECK(code(x, 2, fine, DType::f16) == "ERR_DTYPE");
  CHECK(code(x, 2, beyond) == "ERR_CONTEXT_LENGTH");
  CHECK(code(x, 2, negative) == "ERR_CONTEXT_LENGTH");
  CHECK(code(rope(other, leaf(x), 2, fine, table, DType::f32), 2, fine) == "ERR_FOREIGN");
  const std::atomic<bool> cancelled{true};
  tape.set_cancel_flag(&cancelled);
  CHECK(code(x, 2, fine) == "ERR_ABORTED");
}
