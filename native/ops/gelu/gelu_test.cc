#include "ops/gelu/gelu.h"

#include "ops/elementwise/elementwise.h"
#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

constexpr GeluKind kKinds[] = {GeluKind::exact, GeluKind::tanh};

struct Result {
  Tensor y, dx;
};
Result run(const Tensor& x, const Tensor& grad, GeluKind kind) {
  Tape tape(device_arena(), Tape::Mode::training);
  const Var input = leaf(placed(x));
  const Var y = gelu(tape, input, kind);
  tape.backward(y, placed(grad));
  return {y.value(), input.grad()};
}

template <typename Real>
Real plain_value(Real x, GeluKind kind) {
  if (kind == GeluKind::exact) return Real(0.5) * x * (Real(1) + std::erf(x * Real(0.70710678118654752440)));
  const Real u = Real(0.79788456080286535588) * (x + Real(0.044715) * x * x * x);
  return Real(0.5) * x * (Real(1) + std::tanh(u));
}

template <typename Real>
Real plain_slope(Real x, GeluKind kind) {
  if (kind == GeluKind::exact)
    return Real(0.5) * (Real(1) + std::erf(x * Real(0.70710678118654752440))) +
           x * Real(0.39894228040143267794) * std::exp(Real(-0.5) * x * x);
  const Real root = Real(0.79788456080286535588), t = std::tanh(root * (x + Real(0.044715) * x * x * x));
  return Real(0.5) * (Real(1) + t) +
         Real(0.5) * x * (Real(1) - t * t) * root * (Real(1) + Real(3) * Real(0.044715) * x * x);
}

template <typename Real>
struct Plain {
  std::vector<Real> y, dx;
  Plain(const Tensor& x, const Tensor& grad, GeluKind kind) {
    for (int64_t i = 0; i < x.count(); ++i) {
      const auto at = static_cast<Real>(element(x, i)), g = static_cast<Real>(element(grad, i));
      y.push_back(plain_value(at, kind));
      dx.push_back(g * plain_slope(at, kind));
    }
  }
};

}  // namespace

TEST_CASE("gelu: values and gradients against double, within the precision rule") {
  const auto arena = test_arena();
  for (const GeluKind kind : kKinds)
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const Shape& shape : std::vector<Shape>{{3, 5}, {2, 16}, {7, 33}, {40, 1030}, {0, 4}, {4, 0}}) {
        CAPTURE(static_cast<int>(kind));
        const Tensor x = random_tensor(arena, shape, dtype, 1, -9.0, 7.0);
        const Tensor grad = random_tensor(arena, shape, dtype, 3);
        const Plain<double> exact(x, grad, kind);
        const Plain<float> plain(x, grad, kind);
        const auto naive = [&](const std::vector<float>& values) {
          return to_doubles(from_doubles(arena, shape, dtype, Doubles(values.begin(), values.end())));
        };
        on_every_device([&] {
          const Result result = run(x, grad, kind);
          check_precision(result.y, exact.y, naive(plain.y));
          check_precision(result.dx, exact.dx, naive(plain.dx));
          if (x.rows() == 0) return;
          const auto last = [&](const Tensor& m) { return copy_rows(arena, m, m.rows() - 1, m.rows()); };
          const Result alone = run(last(x), last(grad), kind);
          CHECK(same_bits(alone.y, last(result.y)));
          CHECK(same_bits(alone.dx, last(result.dx)));
        });
      }
}

TEST_CASE("gelu: every size of x, the tails too, to a few parts in 1e7 of x") {
  const auto arena = test_arena();
  Doubles points;
  for (double x = -20.0; x <= 20.0; x += 1.0 / 64) points.push_back(x);
  for (double x = 1e-38; x < 1.0; x *= 3.0) points.insert(points.end(), {x, -x});
  const auto count = static_cast<int64_t>(points.size());
  const Tensor x = from_doubles(arena, {1, count}, DType::f32, points);
  const Tensor one = from_doubles(arena, {1, count}, DType::f32, Doubles(points.size(), 1.0));
  for (const GeluKind kind : kKinds) {
    CAPTURE(static_cast<int>(kind));
    const Plain<double> exact(x, one, kind);
    on_every_device([&] {
      const Result result = run(x, one, kind);
      const Doubles y = to_doubles(result.y), dx = to_doubles(result.dx);
      double worst = 0.0, worst_slope = 0.0;
      for (size_t i = 0; i < points.size(); ++i) {
        worst = std::max(worst, std::fabs(y[i] - exact.y[i]) / std::fabs(element(x, static_cast<int64_t>(i))));
        worst_slope = std::max(worst_slope, std::fabs(dx[i] - exact.dx[i]));
      }
      CHECK(worst < 4e-7);
      CHECK(worst_slope < 6e-7);
    });
  }
}

TEST_CASE("gelu: gradients against central differences in double") {
  const auto arena = test_arena();
  const Tensor x = random_tensor(arena, {2, 9}, DType::f32, 4, -4.0, 4.0);
  const Tensor grad = random_tensor(arena, {2, 9}, DType::f32, 6);
  for (const GeluKind kind : kKinds) {
    const auto loss = [&](const Doubles& at) {
      double total = 0.0;
      for (size_t i = 0; i < at.size(); ++i) total += element(grad, static_cast<int64_t>(i)) * plain_value(at[i], kind);
      return total;
    };
    const Doubles wanted = numeric_gradient(loss, to_doubles(x));
    on_every_device([&] { check_close(to_doubles(run(x, grad, kind).dx), wanted, 1e-5, 1e-6); });
  }
}

TEST_CASE("gelu: on a device, the same bits in every order of threads and blocks") {
  const auto arena = test_arena();
  const Tensor x = random_tensor(arena, {5, 333}, DType::bf16, 1),
               grad = random_tensor(arena, {5, 333}, DType::bf16, 3);
  for (const GeluKind kind : kKinds)
    on_every_order([&] {
      const Result result = run(x, grad, kind);
      return std::vector<Tensor>{result.y, result.dx};
    });
}

TEST_CASE("gelu: large values neither overflow nor turn into NaN, and NaN stays") {
  const auto arena = test_arena();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Tensor x = from_doubles(arena, {1, 6}, DType::f32, {-1e30, 1e30, -200.0, 200.0, 0.0, nan});
  const Tensor one = from_doubles(arena, {1, 6}, DType::f32, Doubles(6, 1.0));
  for (const GeluKind kind : kKinds) {
    CAPTURE(static_cast<int>(kind));
    on_every_device([&] {
      const Result result = run(x, one, kind);
      const Doubles y = to_doubles(result.y), dx = to_doubles(result.dx);
      CHECK(std::fabs(y[0]) < 1e-6);
      CHECK(y[1] == static_cast<double>(1e30f));
      CHECK(std::fabs(y[2]) < 1e-30);
      CHECK(y[3] == 200.0);
      CHECK(y[4] == 0.0);
      CHECK(std::isnan(y[5]));
      CHECK(std::fabs(dx[0]) < 1e-20);
      CHECK(std::fabs(dx[2]) < 1e-20);
      CHECK(dx[1] == 1.0);
      CHECK(dx[3] == 1.0);
      CHECK(dx[4] == 0.5);
      CHECK(std::isnan(dx[5]));
    });
  }
}

TEST_CASE("gelu: without a gradient to compute nothing is kept; wrong arguments") {
  const auto arena = test_arena(), inputs = test_arena();
  const Tensor x = random_tensor(inputs, {3, 20}, DType::f32, 7);
  {
    Tape tape(arena, Tape::Mode::training);
    gelu(tape, x, GeluKind::exact);
    CHECK(tape.recorded() == 0);
  }
  CHECK(arena->stats().used == 0);
  Tape tape(arena, Tape::Mode::training), other(arena, Tape::Mode::training);
  const auto code = [&](const Var& value) { return error_code([&] { gelu(tape, value, GeluKind::tanh); }); };
  CHECK(code(x) == "");
  CHECK(code(random_tensor(arena, {2, 8}, DType::f16, 1)) == "ERR_DTYPE");
  CHECK(code(scale_by(other, leaf(x), 2.0f)) == "ERR_FOREIGN");
  const std::atomic<bool> cancelled{true};
  tape.set_cancel_flag(&cancelled);
  CHECK(code(x) == "ERR_ABORTED");
}
