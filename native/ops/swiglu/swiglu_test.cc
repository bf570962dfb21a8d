#include "ops/swiglu/swiglu.h"

#include "ops/elementwise/elementwise.h"
#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

struct Result {
  Tensor y, dgate, dup;
};
Result run(const Tensor& gate, const Tensor& up, const Tensor& grad) {
  Tape tape(device_arena(), Tape::Mode::training);
  const Var a = leaf(placed(gate)), b = leaf(placed(up));
  const Var y = swiglu(tape, a, b);
  tape.backward(y, placed(grad));
  return {y.value(), a.grad(), b.grad()};
}

template <typename Real>
struct Plain {
  std::vector<Real> y, dgate, dup;
  Plain(const Tensor& gate, const Tensor& up, const Tensor& grad) {
    for (int64_t i = 0; i < gate.count(); ++i) {
      const auto x = static_cast<Real>(element(gate, i)), u = static_cast<Real>(element(up, i)),
                 g = static_cast<Real>(element(grad, i));
      const Real s = Real(1) / (Real(1) + std::exp(-x));
      y.push_back(x * s * u);
      dgate.push_back(g * u * s * (Real(1) + x * (Real(1) - s)));
      dup.push_back(g * x * s);
    }
  }
};

}  // namespace

TEST_CASE("swiglu: values and gradients against double, within the precision rule") {
  const auto arena = test_arena();
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const Shape& shape : std::vector<Shape>{{1, 1}, {3, 5}, {2, 16}, {7, 33}, {40, 1030}, {0, 4}, {4, 0}}) {
      const Tensor gate = random_tensor(arena, shape, dtype, 1, -12.0, 8.0), up = random_tensor(arena, shape, dtype, 2);
      const Tensor grad = random_tensor(arena, shape, dtype, 3);
      const Plain<double> exact(gate, up, grad);
      const Plain<float> plain(gate, up, grad);
      const auto naive = [&](const std::vector<float>& values) {
        return to_doubles(from_doubles(arena, shape, dtype, Doubles(values.begin(), values.end())));
      };
      on_every_device([&] {
        const Result result = run(gate, up, grad);
        check_precision(result.y, exact.y, naive(plain.y));
        check_precision(result.dgate, exact.dgate, naive(plain.dgate));
        check_precision(result.dup, exact.dup, naive(plain.dup));
        if (gate.rows() == 0) return;
        const auto last = [&](const Tensor& m) { return copy_rows(arena, m, m.rows() - 1, m.rows()); };
        const Result alone = run(last(gate), last(up), last(grad));
        CHECK(same_bits(alone.y, last(result.y)));
        CHECK(same_bits(alone.dgate, last(result.dgate)));
        CHECK(same_bits(alone.dup, last(result.dup)));
      });
    }
}

TEST_CASE("swiglu: gradients against central differences in double") {
  const auto arena = test_arena();
  const Tensor gate = random_tensor(arena, {2, 9}, DType::f32, 4, -4.0, 4.0),
               up = random_tensor(arena, {2, 9}, DType::f32, 5);
  const Tensor grad = random_tensor(arena, {2, 9}, DType::f32, 6);
  const auto loss = [&](const Doubles& gate, const Doubles& up) {
    double total = 0.0;
    for (size_t i = 0; i < gate.size(); ++i)
      total += element(grad, static_cast<int64_t>(i)) * gate[i] / (1.0 + std::exp(-gate[i])) * up[i];
    return total;
  };
  const Doubles gates = to_doubles(gate), ups = to_doubles(up);
  const Doubles dgate = numeric_gradient([&](const Doubles&v) { return loss(v, ups); }, gates),
                dup = numeric_gradient([&](const Doubles&v) { return loss(gates, v); }, ups);
  on_every_device([&] {
    const Result result = run(gate, up, grad);
    check_close(to_doubles(result.dgate), dgate, 1e-5, 1e-6);
    check_close(to_doubles(result.dup), dup, 1e-5, 1e-6);
  });
}

TEST_CASE("swiglu: on a device, the same bits in every order of threads and blocks") {
  const auto arena = test_arena();
  const Shape shape{5, 333};
  const Tensor gate = random_tensor(arena, shape, DType::bf16, 1), up = random_tensor(arena, shape, DType::bf16, 2);
  const Tensor grad = random_tensor(arena, shape, DType::bf16, 3);
  on_every_order([&] {
    const Result result = run(gate, up, grad);
    return std::vector<Tensor>{result.y, result.dgate, result.dup};
  });
}

TEST_CASE("swiglu: large gates neither overflow nor turn into NaN") {
  const auto arena = test_arena();
  const Tensor gate = from_doubles(arena, {1, 4}, DType::f32, {-1000.0, 1000.0, -90.0, 0.0});
  const Tensor one = from_doubles(arena, {1, 4}, DType::f32, {1.0, 1.0, 1.0, 1.0});
  on_every_device([&] {
    const Result result = run(gate, one, one);
    CHECK(to_doubles(result.y)[0] == 0.0);
    CHECK(to_doubles(result.y)[1] == 1000.0);
    CHECK(to_doubles(result.y)[3] == 0.0);
    CHECK(to_doubles(result.dgate)[0] == 0.0);
    CHECK(to_doubles(result.dgate)[1] == 1.0);
    CHECK(to_doubles(result.dgate)[3] == 0.5);
    CHECK(std::isfinite(to_doubles(result.dgate)[2]));
  });
}

TEST_CASE("swiglu: only one input may need a gradient; if none does, nothing is kept") {
  const auto arena = test_arena(), inputs = test_arena();
  const Tensor x = random_tensor(inputs, {3, 20}, DType::f32, 7);
  {
    Tape tape(arena, Tape::Mode::training);
    const Var up = leaf(x);
    const Var y = swiglu(tape, x, up);
    tape.backward(y, x);
    CHECK(same_bits(up.grad(), run(x, x, x).dup));
  }
  Tape tape(arena, Tape::Mode::training);
  swiglu(tape, x, x);
  CHECK(tape.recorded() == 0);
  CHECK(arena->stats().used == 0);
}

TEST_CASE("swiglu: wrong arguments") {
  const auto arena = test_arena();
  Tape tape(arena, Tape::Mode::training), other(arena, Tape::Mode::training);
  const Tensor x = random_tensor(arena, {2, 8}, DType::f32, 1);
  const auto code = [&](const Var& gate, const Var& up) { return error_code([&] { swiglu(tape, gate, up); }); };
  CHECK(code(x, x) == "");
  CHECK(code(x, random_tensor(arena, {2, 7}, DType::f32, 1)) == "ERR_SHAPE");
  CHECK(code(x, random_tensor(arena, {2, 8}, DType::bf16, 1)) == "ERR_DTYPE");
  CHECK(code(random_tensor(arena, {2, 8}, DType::f16, 1), x) == "ERR_DTYPE");
  CHECK(code(x, scale_by(other, leaf(x), 2.0f)) == "ERR_FOREIGN");
  const std::atomic<bool> cancelled{true};
  tape.set_cancel_flag(&cancelled);
  CHECK(code(x, x) == "ERR_ABORTED");
}
