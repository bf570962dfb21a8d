#include "ops/elementwise/elementwise.h"

#include <limits>

#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

const std::vector<Shape> kShapes = {{1}, {3, 5}, {2, 16}, {7, 33}, {100, 1001}, {0, 4}};

double silu_of(double x) { return x / (1.0 + std::exp(-x)); }
double silu_slope(double x) {
  const double s = 1.0 / (1.0 + std::exp(-x));
  return s * (1.0 + x * (1.0 - s));
}

// An op of one or two inputs: its value and derivatives in double, and its value in float.
struct Op {
  const char* name;
  std::function<Var(Tape&, const Var&, const Var&)> run;
  std::function<double(double, double)> value, slope_a, slope_b;
  bool binary;
};
const std::vector<Op> kOps = {
    {"add", [](Tape& t, const Var& a, const Var& b) { return add(t, a, b); }, [](double a, double b) { return a + b; },
     [](double, double) { return 1.0; }, [](double, double) { return 1.0; }, true},
    {"multiply", [](Tape& t, const Var& a, const Var& b) { return multiply(t, a, b); },
     [](double a, double b) { return a * b; }, [](double, double b) { return b; }, [](double a, double) { return a; },
     true},
    {"scale_by",
     [](Tape& t, const Var& a, const Var&) { return scale_by(t, a, -1.75f); },
     [](double a, double) { return -1.75 * a; },
     [](double, double) { return -1.75; },
     {},
     false},
    {"silu",
     [](Tape& t, const Var& a, const Var&) { return silu(t, a); },
     [](double a, double) { return silu_of(a); },
     [](double a, double) { return silu_slope(a); },
     {},
     false},
    {"relu",
     [](Tape& t, const Var& a, const Var&) { return relu(t, a); },
     [](double a, double) { return std::max(a, 0.0); },
     [](double a, double) { return a > 0.0 ? 1.0 : 0.0; },
     {},
     false},
    {"tanh",
     [](Tape& t, const Var& a, const Var&) { return tanh(t, a); },
     [](double a, double) { return std::tanh(a); },
     [](double a, double) { return 1.0 - std::tanh(a) * std::tanh(a); },
     {},
     false},
};

}  // namespace

TEST_CASE("elementwise ops: values and gradients within a few roundings of double") {
  const auto arena = test_arena();
  for (const Op& op : kOps)
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const Shape& shape : kShapes) {
        CAPTURE(op.name);
        const Tensor x = random_tensor(arena, shape, dtype, 1, -4.0, 4.0), y = random_tensor(arena, shape, dtype, 2);
        const Tensor g = random_tensor(arena, shape, dtype, 3);
        Doubles value, da, db;
        for (int64_t i = 0; i < x.count(); ++i) {
          const double a = element(x, i), b = element(y, i), grad = element(g, i);
          value.push_back(op.value(a, b));
          da.push_back(grad * op.slope_a(a, b));
          if (op.binary) db.push_back(grad * op.slope_b(a, b));
        }
        const double rounding = unit_roundoff(dtype), few = rounding + 0x1p-20;
        on_every_device([&] {
          Tape tape(device_arena(), Tape::Mode::training);
          const Var a = leaf(placed(x)), b = leaf(placed(y));
          const Var out = op.run(tape, a, b);
          tape.backward(out, placed(g));
          check_close(to_doubles(out.value()), value, few, 1e-7);
          check_close(to_doubles(a.grad()), da, few, 1e-6);
          if (op.binary) check_close(to_doubles(b.grad()), db, few, 1e-6);
        });
      }
}

TEST_CASE("elementwise: an element's bits do not depend on its position") {
  const auto arena = test_arena();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensor x = random_tensor(arena, {5, 37}, dtype, 4, -20.0, 20.0);
    on_every_device([&] {
      Tape tape(device_arena(), Tape::Mode::inference);
      const Tensor all = silu(tape, placed(x)).value();
      for (int64_t t = 0; t < 5; ++t)
        CHECK(same_bits(silu(tape, placed(copy_rows(arena, x, t, t + 1))).value(), copy_rows(arena, all, t, t + 1)));
    });
  }
}

TEST_CASE("relu and tanh: near 0, far from it, and of values that are not finite") {
  const float infinite = std::numeric_limits<float>::infinity(), none = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> given = {0.0f,   -0.0f,   1e-45f,   -1e-45f, 1e-20f, -1e-20f,  0.2499f,
                                    -0.25f, 0.2501f, 8.9f,     -9.5f,   50.0f,  -3e38f,   3e38f,
                                    1e-3f,  -0.1f,   infinite, none,    1.0f,   -infinite};
  const Tensor x = Tensor::from_host(test_arena(), {static_cast<int64_t>(given.size())}, DType::f32, given.data());
  on_every_device([&] {
    Tape tape(device_arena(), Tape::Mode::training);
    const Var a = leaf(placed(x)), b = leaf(placed(x));
    const Doubles rectified = to_doubles(relu(tape, a).value());
    const Var bent = tanh(tape, b);
    const Doubles bounded = to_doubles(bent.value());
    Tensor ones =
        placed(Tensor::from_host(test_arena(), x.shape(), DType::f32, std::vector<float>(given.size(), 1.0f).data()));
    tape.backward(bent, ones);
    const Doubles slopes = to_doubles(b.grad());
    for (size_t i = 0; i < given.size(); ++i) {
      CAPTURE(given[i]);
      const double v = given[i];
      if (std::isnan(v)) {
        CHECK(std::isnan(rectified[i]));
        CHECK(std::isnan(bounded[i]));
        continue;
      }
      CHECK(rectified[i] == std::max(v, 0.0));
      CHECK(std::fabs(bounded[i] - std::tanh(v)) <= 0x1p-22 * std::fabs(std::tanh(v)));  // relative, also near 0
      const double e = std::exp(-2.0 * std::min(std::fabs(v), 40.0)), slope = 4.0 * e / ((1.0 + e) * (1.0 + e));
      CHECK(std::fabs(slopes[i] - slope) <= 1e-6 * slope + 1e-7);
    }
  });
}

TEST_CASE("sum and mean_squared_error: value and gradient") {
  const auto arena = test_arena();
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const Shape& shape : kShapes) {
      const Tensor x = random_tensor(arena, shape, dtype, 5), target = random_tensor(arena, shape, dtype, 6);
      double total = 0.0, squares = 0.0, magnitude = 0.0;
      const double count = static_cast<double>(x.count());
      Doubles slopes;
      for (int64_t i = 0; i < x.count(); ++i) {
        const double difference = element(x, i) - element(target, i);
        total += element(x, i);
        magnitude += std::fabs(element(x, i));
        squares += difference * difference;
        slopes.push_back(3.0 * 2.0 * difference / count);
      }
      on_every_device([&] {
        Tape tape(device_arena(), Tape::Mode::training);
        const Var a = leaf(placed(x));
        const Var summed = sum(tape, a);
        CHECK(summed.value().shape() == Shape{1});
        CHECK(std::fabs(to_doubles(summed.value())[0] - total) <= 1e-6 * magnitude);
        tape.backward(scale_by(tape, summed, 2.5f));
        for (const double slope : to_doubles(a.grad())) CHECK(slope == 2.5);
        if (x.count() == 0) return;
        const Var b = leaf(placed(x));
        const Var error = mean_squared_error(tape, b, placed(target));
        CHECK(std::fabs(to_doubles(error.value())[0] - squares / count) <= 1e-6 * squares / count);
        tape.backward(scale_by(tape, error, 3.0f));
        check_close(to_doubles(b.grad()), slopes, unit_roundoff(dtype) + 1e-6, 1e-12);
      });
    }
}

TEST_CASE("sum: the same bits on pools of any size, and the order of rows is kept") {
  const auto arena = test_arena();
  const Tensor x = random_tensor(arena, {1000, 300}, DType::f32, 7, 0.0, 1.0);
  on_every_path([&] {
    Tape tape(arena, Tape::Mode::inference);
    const PoolSize one(1);
    const Tensor expected = sum(tape, x).value();
    double rows = 0.0;
    for (int64_t t = 0; t < 1000; ++t) rows += element(sum(tape, copy_rows(arena, x, t, t + 1)).value(), 0);
    CHECK(static_cast<float>(rows) == *expected.data<float>());
    for (const int threads : {2, 3}) {
      const PoolSize size(threads);
      CHECK(same_bits(sum(tape, x).value(), expected));
    }
  });
}

TEST_CASE("elementwise and sum: on a device, the same bits in every order of threads and blocks") {
  const auto arena = test_arena();
  const Tensor x = random_tensor(arena, {9, 301}, DType::bf16, 7), y = random_tensor(arena, {9, 301}, DType::bf16, 8);
  on_every_order([&] {
    Tape tape(device_arena(), Tape::Mode::inference);
    const Tensor a = placed(x), b = placed(y);
    return std::vector<Tensor>{multiply(tape, a, b).value(), silu(tape, a).value(), sum(tape, a).value(),
                               mean_squared_error(tape, a, b).value(), cast(tape, a, DType::f32).value()};
  });
  for (const auto& stream : devices()) {
    if (!stream) continue;
    Tape tape(test_arena(), Tape::Mode::inference);
    const Tensor there = x.copied_to(std::make_shared<Arena>(stream));
    CHECK(error_code([&] { add(tape, there, there); }) == "ERR_FOREIGN");
    CHECK(error_code([&] { add(tape, x, there); }) == "ERR_FOREIGN");
  }
}

TEST_CASE("cast: exact one way, rounded to nearest even the other, with its gradient") {
  const auto arena = test_arena();
  const Tensor wide = random_tensor(arena, {7, 33}, DType::f32, 8);
  const Tensor narrow = from_doubles(arena, {7, 33}, DType::bf16, to_doubles(wide));
  on_every_device([&] {
    Tape tape(device_arena(), Tape::Mode::training);
    const Var x = leaf(placed(wide));
    const Var y = cast(tape, x, DType::bf16);
    CHECK(same_bits(y.value(), narrow));
    tape.backward(y, placed(narrow));
    CHECK(to_doubles(x.grad()) == to_doubles(narrow));
    const Var b = leaf(placed(narrow));
    const Var c = cast(tape, b, DType::f32);
    CHECK(to_doubles(c.value()) == to_doubles(narrow));
    tape.backward(c, placed(wide));
    CHECK(same_bits(b.grad(), narrow));
    CHECK(cast(tape, x, DType::f32).slot() == x.slot());
  });
}

TEST_CASE("elementwise ops: nothing is recorded or kept if no input needs a gradient") {
  const auto arena = test_arena();
  const Tensor x = random_tensor(test_arena(), {3, 20}, DType::f32, 11);
  Tape tape(arena, Tape::Mode::training);
  for (const Op& op : kOps) op.run(tape, x, x);
  sum(tape, x);
  mean_squared_error(tape, x, x);
  cast(tape, x, DType::bf16);
  CHECK(tape.recorded() == 0);
  CHECK(arena->stats().used == 0);
}

TEST_CASE("elementwise ops: wrong arguments") {
  const auto arena = test_arena();
  Tape tape(arena, Tape::Mode::training), other(arena, Tape::Mode::training);
  const Tensor x = random_tensor(arena, {2, 8}, DType::f32, 1), short_x = random_tensor(arena, {2, 7}, DType::f32, 1);
  const Tensor narrow = random_tensor(arena, {2, 8}, DType::bf16, 1),
               half = random_tensor(arena, {2, 8}, DType::f16, 1);
  const Var foreign = scale_by(other, leaf(x), 2.0f);
  for (const Op& op : kOps) {
    CAPTURE(op.name);
    CHECK(error_code([&] { op.run(tape, half, half); }) == "ERR_DTYPE");
    CHECK(error_code([&] { op.run(tape, foreign, x); }) == "ERR_FOREIGN");
    CHECK(error_code([&] { op.run(tape, Var(), x); }) == "ERR_ARGUMENT");
    if (!op.binary) continue;
    CHECK(error_code([&] { op.run(tape, x, short_x); }) == "ERR_SHAPE");
    CHECK(error_code([&] { op.run(tape, x, narrow); }) == "ERR_DTYPE");
    CHECK(error_code([&] { op.run(tape, x, foreign); }) == "ERR_FOREIGN");
  }
  CHECK(error_code([&] { mean_squared_error(tape, x, short_x); }) == "ERR_SHAPE");
  CHECK(error_code([&] { mean_squared_error(tape, x, narrow); }) == "ERR_DTYPE");
  const Tensor nothing = random_tensor(arena, {0, 8}, DType::f32, 1);
  CHECK(error_code([&] { mean_squared_error(tape, nothing, nothing); }) == "ERR_SHAPE");
  CHECK(error_code([&] { cast(tape, x, DType::i32); }) == "ERR_DTYPE");
  CHECK(error_code([&] { sum(tape, foreign); }) == "ERR_FOREIGN");
  const std::atomic<bool> cancelled{true};
  tape.set_cancel_flag(&cancelled);
  CHECK(error_code([&] { add(tape, x, x); }) == "ERR_ABORTED");
  CHECK(error_code([&] { sum(tape, x); }) == "ERR_ABORTED");
}
