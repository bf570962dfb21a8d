#include "ops/rms_norm/rms_norm.h"

#include <array>

#include "ops/elementwise/elementwise.h"
#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

constexpr float kEps = 1e-5f;
const std::vector<std::pair<int64_t, int64_t>> kShapes = {{1, 1},   {3, 15},   {5, 16},   {7, 33},
                                                          {2, 768}, {65, 7},   {130, 40}, {300, 513},
                                                          {0, 8},   {3, 2056}, {2, 8200}, {1, 16392}};

// y = x * r * w and, given g, dx and dw. Every intermediate result is rounded to Real, and x's rows to `dtype`.
template <typename Real>
struct Plain {
  std::vector<Real> y, dx, dw;
  Plain(const Tensor& x, const Tensor& w, const Tensor& g) {
    const auto d = x.cols();
    dw.resize(static_cast<size_t>(d));
    for (int64_t t = 0; t < x.rows(); ++t) {
      const auto at = [&](const Tensor& m, int64_t j) { return static_cast<Real>(element(m, t * d + j)); };
      const auto weight = [&](int64_t j) { return static_cast<Real>(element(w, j)); };
      Real squares = 0, dot = 0;
      for (int64_t j = 0; j < d; ++j) squares += at(x, j) * at(x, j);
      const Real r = Real(1) / std::sqrt(squares / static_cast<Real>(d) + static_cast<Real>(kEps));
      for (int64_t j = 0; j < d; ++j) dot += at(x, j) * weight(j) * at(g, j);
      for (int64_t j = 0; j < d; ++j) {
        y.push_back(at(x, j) * r * weight(j));
        dx.push_back(r * (weight(j) * at(g, j) - at(x, j) * r * r / static_cast<Real>(d) * dot));
        dw[static_cast<size_t>(j)] += at(g, j) * at(x, j) * r;
      }
    }
  }
};

struct Result {
  Tensor y, dx, dw;
};
Result run(const Tensor& x, const Tensor& w, const Tensor& g) {
  Tape tape(device_arena(), Tape::Mode::training);
  const Var input = leaf(placed(x)), weight = Var::parameter(placed(w));
  const Var y = rms_norm(tape, input, weight, kEps);
  tape.backward(y, placed(g));
  return {y.value(), input.grad(), weight.grad()};
}

}  // namespace

TEST_CASE("rms_norm: values and gradients against double, within the precision rule") {
  const auto arena = test_arena();
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const auto& [rows, cols] : kShapes) {
      CAPTURE(rows);
      CAPTURE(cols);
      const Tensor x = random_tensor(arena, {rows, cols}, dtype, 1, -3.0, 2.0);
      const Tensor w = random_tensor(arena, {cols}, DType::f32, 2, 0.5, 1.5);
      const Tensor g = random_tensor(arena, {rows, cols}, dtype, 3);
      const Plain<double> exact(x, w, g);
      const Plain<float> plain(x, w, g);
      const auto naive = [&](const std::vector<float>& values, DType to) {
        const Doubles doubles(values.begin(), values.end());
        return to_doubles(from_doubles(arena, {static_cast<int64_t>(values.size())}, to, doubles));
      };
      const auto check = [&] {
        const Result result = run(x, w, g);
        check_precision(result.y, exact.y, naive(plain.y, dtype));
        check_precision(result.dx, exact.dx, naive(plain.dx, dtype));
        check_precision(result.dw, exact.dw, naive(plain.dw, DType::f32));
        if (rows == 0) return result;
        const auto row = [&](const Tensor& m) { return copy_rows(arena, m, rows / 2, rows / 2 + 1); };
        const Result alone = run(row(x), w, row(g));
        CHECK(same_bits(alone.y, row(result.y)));
        CHECK(same_bits(alone.dx, row(result.dx)));
        return result;
      };
      Result first;  // of a pool of one thread, then of the current path
      on_every_device([&] {
        const Result result = check();
        const bool alone = present_device() || ThreadPool::instance().size() == 1;
        if (alone) first = result;
        CHECK(same_bits(result.y, first.y));
        CHECK(same_bits(result.dx, first.dx));
        CHECK(same_bits(result.dw, first.dw));
      });
    }
}

TEST_CASE("rms_norm: gradients against central differences in double") {
  const auto arena = test_arena();
  const Tensor x = random_tensor(arena, {3, 5}, DType::f32, 4), w = random_tensor(arena, {5}, DType::f32, 5);
  const Tensor g = random_tensor(arena, {3, 5}, DType::f32, 6);
  const auto loss = [&](const Doubles& x, const Doubles& w) {
    double total = 0.0;
    for (size_t t = 0; t < 3; ++t) {
      double squares = 0.0;
      for (size_t j = 0; j < 5; ++j) squares += x[t * 5 + j] * x[t * 5 + j];
      const double r = 1.0 / std::sqrt(squares / 5.0 + static_cast<double>(kEps));
      for (size_t j = 0; j < 5; ++j) total += element(g, static_cast<int64_t>(t * 5 + j)) * x[t * 5 + j] * r * w[j];
    }
    return total;
  };
  const Doubles xs = to_doubles(x), ws = to_doubles(w);
  const Doubles dx = numeric_gradient([&](const Doubles&v) { return loss(v, ws); }, xs),
                dw = numeric_gradient([&](const Doubles&v) { return loss(xs, v); }, ws);
  on_every_device([&] {
    const Result result = run(x, w, g);
    check_close(to_doubles(result.dx), dx, 1e-5, 1e-6);
    check_close(to_doubles(result.dw), dw, 1e-5, 1e-6);
  });
}

TEST_CASE("head_norm: each head as a row of rms_norm, and a width that divides no row is refused") {
  const auto arena = test_arena();
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const auto& [rows, heads, width] : {std::array<int64_t, 3>{5, 3, 6}, {70, 4, 16}, {1, 1, 40}, {3, 2, 128}}) {
      CAPTURE(rows);
      const Tensor x = random_tensor(arena, {rows, heads * width}, dtype, 1, -3.0, 2.0);
      const Tensor g = random_tensor(arena, {rows, heads * width}, dtype, 3);
      const Tensor w = random_tensor(arena, {width}, DType::f32, 2, 0.5, 1.5);
      on_every_device([&] {
        const Shape as_rows = {rows * heads, width};
        const Result wanted = run(x.reshaped(as_rows), w, g.reshaped(as_rows));
        Tape tape(device_arena(), Tape::Mode::training);
        const Var input = leaf(placed(x)), weight = Var::parameter(placed(w));
        const Var y = head_norm(tape, input, weight, kEps);
        CHECK(y.value().shape() == x.shape());
        tape.backward(y, placed(g));
        CHECK(input.grad().shape() == x.shape());
        CHECK(same_bits(y.value().reshaped(as_rows), wanted.y));
        CHECK(same_bits(input.grad().reshaped(as_rows), wanted.dx));
        CHECK(same_bits(weight.grad(), wanted.dw));
      });
    }
  Tape tape(arena, Tape::Mode::inference);
  const Var x = random_tensor(arena, {2, 12}, DType::f32, 1);
  for (const int64_t width : {5, 24})
    CHECK(error_code([&] { head_norm(tape, x, random_tensor(arena, {width}, DType::f32, 2), kEps); }) == "ERR_SHAPE");
  CHECK(error_code([&] { head_norm(tape, x, random_tensor(arena, {2, 6}, DType::f32, 2), kEps); }) == "ERR_SHAPE");
}

TEST_CASE("rms_norm: on a device, the same bits in every order of threads and blocks") {
  const auto arena = test_arena();
  for (const int64_t cols : {300, 304}) {
    const Tensor x = random_tensor(arena, {70, cols}, DType::bf16, 1),
                 g = random_tensor(arena, x.shape(), DType::bf16, 2);
    const Tensor w = random_tensor(arena, {cols}, DType::f32, 3);
    on_every_order([&] {
      const Result result = run(x, w, g);
      return std::vector<Tensor>{result.y, result.dx, result.dw};
    });
  }
}

TEST_CASE("rms_norm: a row of zeros stays finite") {
  const auto arena = test_arena();
  const Tensor x = Tensor::zeros(arena, {1, 20}, DType::f32), w = random_tensor(arena, {20}, DType::f32, 7);
  on_every_device([&] {
    const Result result = run(x, w, w.reshaped({1, 20}));
    for (const double y : to_doubles(result.y)) CHECK(y == 0.0);
    for (const double dx : to_doubles(result.dx)) CHECK(std::isfinite(dx));
  });
}

TEST_CASE("rms_norm: nothing is recorded or kept if no input needs a gradient") {
  const auto arena = test_arena();
  const Tensor x = random_tensor(test_arena(), {8, 16}, DType::f32, 8),
               w = random_tensor(test_arena(), {16}, DType::f32, 9);
  Tape tape(arena, Tape::Mode::training);
  rms_norm(tape, x, w, kEps);
  CHECK(tape.recorded() == 0);
  CHECK(arena->stats().used == 0);
}

TEST_CASE("rms_norm: wrong arguments") {
  const auto arena = test_arena();
  Tape tape(arena, Tape::Mode::training), other(arena, Tape::Mode::training);
  const Tensor x = random_tensor(arena, {2, 8}, DType::f32, 1), w = random_tensor(arena, {8}, DType::f32, 2);
  const auto code = [&](const Var& x, const Var& w) { return error_code([&] { rms_norm(tape, x, w, kEps); }); };
  CHECK(code(x, w) == "");
  CHECK(code(x, random_tensor(arena, {7}, DType::f32, 1)) == "ERR_SHAPE");
  CHECK(code(x, random_tensor(arena, {8}, DType::bf16, 1)) == "ERR_DTYPE");
  CHECK(code(random_tensor(arena, {2, 8}, DType::f16, 1), w) == "ERR_DTYPE");
  CHECK(code(scale_by(other, leaf(x), 2.0f), w) == "ERR_FOREIGN");
  const std::atomic<bool> cancelled{true};
  tape.set_cancel_flag(&cancelled);
  CHECK(code(x, w) == "ERR_ABORTED");
}
