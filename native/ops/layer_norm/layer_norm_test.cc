#include "ops/layer_norm/layer_norm.h"

#include "ops/elementwise/elementwise.h"
#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

constexpr float kEps = 1e-5f;
struct Case {
  std::vector<std::pair<int32_t, int32_t>> sequences;  // length and slot: 1 has weight and bias, 2 only a weight
  int64_t cols;
};
const std::vector<Case> kCases = {{{{1, 1}}, 1},
                                  {{{5, 1}}, 16},
                                  {{{3, 0}, {7, 2}, {1, 1}, {9, 2}}, 33},
                                  {{{130, 1}, {64, 2}, {65, 1}, {10, 0}}, 100},
                                  {{{70, 1}, {3, 2}}, 513},
                                  {{{0, 1}}, 5},
                                  {{{2, 1}, {2, 0}, {1, 2}}, 2056},
                                  {{{1, 1}, {1, 0}}, 8200},
                                  {{{1, 2}, {1, 0}}, 16392}};

struct Inputs {
  Tensor x, grad, weight1, bias1, weight2;
};
Inputs make_inputs(const Case& c, const TestRows& rows, DType dtype) {
  const auto arena = test_arena();
  const Shape shape{rows.view().rows, c.cols};
  return {random_tensor(arena, shape, dtype, 1, -3.0, 4.0), random_tensor(arena, shape, dtype, 2),
          random_tensor(arena, {c.cols}, DType::f32, 3, 0.5, 1.5), random_tensor(arena, {c.cols}, DType::f32, 4),
          random_tensor(arena, {c.cols}, DType::f32, 5, -1.5, 1.5)};
}

struct Result {
  Tensor y, dx, dweight1, dbias1, dweight2;
};
Result run(const Inputs& in, const TestRows& rows) {
  Tape tape(device_arena(), Tape::Mode::training);
  const auto parameter = [](const Tensor& vector) { return Var::parameter(placed(vector)); };
  const SlotVectors slots{{{}, {parameter(in.weight1), parameter(in.bias1)}, {parameter(in.weight2), Var()}}};
  const Var x = leaf(placed(in.x));
  const Var y = layer_norm(tape, x, slots, rows.view(), kEps);
  if (y.slot() != x.slot()) tape.backward(y, placed(in.grad));
  return {y.value(), x.grad(), slots.slots[1].scale.grad(), slots.slots[1].bias.grad(), slots.slots[2].scale.grad()};
}

template <typename Real>
struct Plain {
  std::vector<Real> y, dx, dweight1, dbias1, dweight2;
  Plain(const Inputs& in, const TestRows& rows) {
    const int64_t d = in.x.cols();
    for (auto* sums : {&dweight1, &dbias1, &dweight2}) sums->resize(static_cast<size_t>(d));
    for (size_t s = 0; s < rows.slots.size(); ++s)
      for (int64_t t = rows.starts[s]; t < rows.starts[s + 1]; ++t) row(in, t, rows.slots[s]);
  }
  void row(const Inputs& in, int64_t t, int32_t slot) {
    const int64_t d = in.x.cols();
    const auto size = static_cast<Real>(d);
    const auto x = [&](int64_t j) { return static_cast<Real>(element(in.x, t * d + j)); };
    const auto g = [&](int64_t j) { return static_cast<Real>(element(in.grad, t * d + j)); };
    const auto w = [&](int64_t j) { return static_cast<Real>(element(slot == 1 ? in.weight1 : in.weight2, j)); };
    Real mean = 0, variance = 0, a = 0, b = 0;
    for (int64_t j = 0; j < d; ++j) mean += x(j) / size;
    for (int64_t j = 0; j < d; ++j) variance += (x(j) - mean) * (x(j) - mean) / size;
    const Real r = Real(1) / std::sqrt(variance + static_cast<Real>(kEps));
    for (int64_t j = 0; j < d; ++j) {
      a += w(j) * g(j) / size;
      b += w(j) * g(j) * (x(j) - mean) * r / size;
    }
    for (int64_t j = 0; j < d; ++j) {
      const Real n = (x(j) - mean) * r, bias = slot == 1 ? static_cast<Real>(element(in.bias1, j)) : Real(0);
      y.push_back(slot == 0 ? x(j) : n * w(j) + bias);
      dx.push_back(slot == 0 ? g(j) : r * (w(j) * g(j) - a - n * b));
      const auto i = static_cast<size_t>(j);
      if (slot == 1) dweight1[i] += g(j) * n;
      if (slot == 1) dbias1[i] += g(j);
      if (slot == 2) dweight2[i] += g(j) * n;
    }
  }
};

}  // namespace

TEST_CASE("layer_norm: values and gradients against double, within the precision rule") {
  const auto arena = test_arena();
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const Case& c : kCases) {
      const TestRows rows(c.sequences);
      CAPTURE(c.cols);
      const Inputs in = make_inputs(c, rows, dtype);
      const Plain<double> exact(in, rows);
      const Plain<float> plain(in, rows);
      const auto naive = [&](const std::vector<float>& values, DType to) {
        const Doubles doubles(values.begin(), values.end());
        return to_doubles(from_doubles(arena, {static_cast<int64_t>(values.size())}, to, doubles));
      };
      Result one;  // of a pool of one thread, then of the current path
      on_every_device([&] {
        const Result result = run(in, rows);
        check_precision(result.y, exact.y, naive(plain.y, dtype));
        if (rows.view().rows == 0) return;
        check_precision(result.dx, exact.dx, naive(plain.dx, dtype));
        if (result.dweight1.defined()) {
          check_precision(result.dweight1, exact.dweight1, naive(plain.dweight1, DType::f32));
          check_precision(result.dbias1, exact.dbias1, naive(plain.dbias1, DType::f32));
        }
        if (result.dweight2.defined())
          check_precision(result.dweight2, exact.dweight2, naive(plain.dweight2, DType::f32));
        if (present_device() || ThreadPool::instance().size() == 1) one = result;
        CHECK(same_bits(result.y, one.y));
        CHECK(same_bits(result.dx, one.dx));
        if (result.dweight1.defined()) CHECK(same_bits(result.dweight1, one.dweight1));
        if (result.dweight2.defined()) CHECK(same_bits(result.dweight2, one.dweight2));
        const auto first = [&](const Tensor& m) { return copy_rows(arena, m, 0, 1); };
        const Result alone =
            run({first(in.x), first(in.grad), in.weight1, in.bias1, in.weight2}, TestRows({{1, rows.slots[0]}}));
        CHECK(same_bits(alone.y, first(result.y)));
        if (rows.slots[0] != 0) CHECK(same_bits(alone.dx, first(result.dx)));
      });
    }
}

TEST_CASE("layer_norm: gradients against central differences in double") {
  const TestRows rows({{2, 1}, {1, 2}});
  const Inputs in = make_inputs({{}, 6}, rows, DType::f32);
  const auto loss = [&](const Doubles& x, const Doubles& weight1) {
    double total = 0.0;
    for (size_t t = 0; t < 3; ++t) {
      double mean = 0.0, variance = 0.0;
      for (size_t j = 0; j < 6; ++j) mean += x[t * 6 + j] / 6.0;
      for (size_t j = 0; j < 6; ++j) variance += (x[t * 6 + j] - mean) * (x[t * 6 + j] - mean) / 6.0;
      const double r = 1.0 / std::sqrt(variance + static_cast<double>(kEps));
      for (size_t j = 0; j < 6; ++j) {
        const double n = (x[t * 6 + j] - mean) * r,
                     w = t < 2 ? weight1[j] : element(in.weight2, static_cast<int64_t>(j));
        total += element(in.grad, static_cast<int64_t>(t * 6 + j)) * n * w;  // the bias does not enter these gradients
      }
    }
    return total;
  };
  const Doubles x = to_doubles(in.x), weight1 = to_doubles(in.weight1);
  const Doubles dx = numeric_gradient([&](const Doubles&v) { return loss(v, weight1); }, x),
                dweight1 = numeric_gradient([&](const Doubles&v) { return loss(x, v); }, weight1);
  on_every_device([&] {
    const Result result = run(in, rows);
    check_close(to_doubles(result.dx), dx, 1e-5, 1e-6);
    check_close(to_doubles(result.dweight1), dweight1, 1e-5, 1e-6);
  });
}

TEST_CASE("layer_norm: on a device, the same bits in every order of threads and blocks") {
  for (const int64_t cols : {300, 304}) {
    const TestRows rows({{70, 1}, {3, 0}, {9, 2}});
    const Inputs in = make_inputs({{}, cols}, rows, DType::bf16);
    on_every_order([&] {
      const Result r = run(in, rows);
      return std::vector<Tensor>{r.y, r.dx, r.dweight1, r.dbias1, r.dweight2};
    });
  }
}

TEST_CASE("layer_norm: rows of a slot without weight keep their bits; nothing is kept in inference") {
  const auto arena = test_arena();
  const Tensor x = random_tensor(test_arena(), {4, 20}, DType::bf16, 1);
  const Var weight = Var::parameter(random_tensor(test_arena(), {20}, DType::f32, 2));
  const SlotVectors slots{{{}, {weight, {}}, {}}};
  Tape tape(arena, Tape::Mode::inference);
  const TestRows rows({{1, 2}, {2, 1}, {1, 0}});
  {
    const Var y = layer_norm(tape, x, slots, rows.view(), kEps);
    CHECK(same_bits(copy_rows(arena, y.value(), 0, 1), copy_rows(arena, x, 0, 1)));
    CHECK(same_bits(copy_rows(arena, y.value(), 3, 4), copy_rows(arena, x, 3, 4)));
    CHECK(!same_bits(y.value(), x));
  }
  CHECK(tape.recorded() == 0);
  CHECK(arena->stats().used == 0);
}

TEST_CASE("layer_norm: with one weight and bias for all rows it is that of one sequence") {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const auto& [length, cols] : std::vector<std::pair<int32_t, int64_t>>{{1, 1}, {5, 33}, {130, 100}}) {
      const TestRows rows({{length, 1}});
      const Inputs in = make_inputs({{}, cols}, rows, dtype);
      on_every_device([&] {
        const Result expected = run(in, rows);
        Tape tape(device_arena(), Tape::Mode::training);
        const Var x = leaf(placed(in.x)), weight = Var::parameter(placed(in.weight1)),
                  bias = Var::parameter(placed(in.bias1));
        const Var y = layer_norm(tape, x, weight, bias, kEps);
        tape.backward(y, placed(in.grad));
        CHECK(same_bits(y.value(), expected.y));
        CHECK(same_bits(x.grad(), expected.dx));
        CHECK(same_bits(weight.grad(), expected.dweight1));
        CHECK(same_bits(bias.grad(), expected.dbias1));
      });
    }
}

TEST_CASE("layer_norm: wrong arguments") {
  const auto arena = test_arena();
  Tape tape(arena, Tape::Mode::training), other(arena, Tape::Mode::training);
  const Tensor x = random_tensor(arena, {2, 8}, DType::f32, 1);
  const Var w = random_tensor(arena, {8}, DType::f32, 2);
  const TestRows rows({{2, 1}});
  const auto code = [&](const Var& x, const SlotVectors& slots, const TestRows& rows) {
    return error_code([&] { layer_norm(tape, x, slots, rows.view(), kEps); });
  };
  CHECK(code(x, {{{}, {w, w}}}, rows) == "");
  CHECK(code(x, {{{}, {w, w}}}, TestRows({{3, 1}})) == "ERR_SHAPE");
  CHECK(code(x, {{{}, {w, w}}}, TestRows({{2, 2}})) == "ERR_ARGUMENT");
  CHECK(code(x, {{{}, {Var(random_tensor(arena, {7}, DType::f32, 1)), w}}}, rows) == "ERR_SHAPE");
  CHECK(code(x, {{{}, {Var(random_tensor(arena, {8}, DType::bf16, 1)), w}}}, rows) == "ERR_DTYPE");
  CHECK(code(x, {{{}, {Var(), w}}}, rows) == "ERR_ARGUMENT");
  CHECK(code(random_tensor(arena, {2, 8}, DType::f16, 1), {{{}, {w, w}}}, rows) == "ERR_DTYPE");
  CHECK(code(scale_by(other, leaf(x), 2.0f), {{{}, {w, w}}}, rows) == "ERR_FOREIGN");
  const std::atomic<bool> cancelled{true};
  tape.set_cancel_flag(&cancelled);
  CHECK(code(x, {{{}, {w, w}}}, rows) == "ERR_ABORTED");
}
