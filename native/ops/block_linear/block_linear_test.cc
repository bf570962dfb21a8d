#include "ops/block_linear/block_linear.h"

#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

struct Case {
  int64_t rows, blocks, outputs, inputs;
};
constexpr Case kCases[] = {{1, 1, 1, 1}, {7, 3, 5, 2}, {33, 2, 17, 19}, {4, 8, 1, 3}};

struct Result {
  Doubles y, dx, dw;
};

// The contract, each sum rounded to Real.
template <typename Real>
Result reference(const Case& c, const Doubles& x, const Doubles& w, const Doubles& g) {
  Result out{Doubles(g.size()), Doubles(x.size()), Doubles(w.size())};
  const auto add = [](double& sum, double value) { sum = static_cast<double>(static_cast<Real>(sum + value)); };
  for (int64_t b = 0; b < c.blocks; ++b)
    for (int64_t j = 0; j < c.outputs; ++j)
      for (int64_t k = 0; k < c.inputs; ++k)
        for (int64_t t = 0; t < c.rows; ++t) {
          const auto at_x = static_cast<size_t>((t * c.blocks + b) * c.inputs + k);
          const auto at_y = static_cast<size_t>((t * c.blocks + b) * c.outputs + j);
          const auto at_w = static_cast<size_t>((b * c.outputs + j) * c.inputs + k);
          add(out.y[at_y], x[at_x] * w[at_w]);
          add(out.dx[at_x], g[at_y] * w[at_w]);
          add(out.dw[at_w], g[at_y] * x[at_x]);
        }
  return out;
}

}  // namespace

TEST_CASE("block_linear multiplies slices by their blocks, and its gradients are those of the formula") {
  on_every_device([] {
    for (const Case& c : kCases) {
      const Tensor x = placed(random_tensor(test_arena(), {c.rows, c.blocks * c.inputs}, DType::f32, 1));
      const Var w = Var::parameter(placed(random_tensor(test_arena(), {c.blocks, c.outputs, c.inputs}, DType::f32, 2)));
      const Tensor g = placed(random_tensor(test_arena(), {c.rows, c.blocks * c.outputs}, DType::f32, 3));
      Tape tape(device_arena(), Tape::Mode::training);
      const Var x_leaf = leaf(x), y = block_linear(tape, x_leaf, w);
      const Doubles xs = to_doubles(x), ws = to_doubles(w.value()), gs = to_doubles(g);
      const Result exact = reference<double>(c, xs, ws, gs), naive = reference<float>(c, xs, ws, gs);
      check_precision(y.value(), exact.y, naive.y);
      tape.backward(y, g);
      check_precision(x_leaf.grad(), exact.dx, naive.dx);
      check_precision(w.grad(), exact.dw, naive.dw);
    }
  });
}

TEST_CASE("block_linear refuses shapes that do not fit") {
  Tape tape(test_arena(), Tape::Mode::inference);
  const Tensor x = random_tensor(test_arena(), {3, 8}, DType::f32, 1);
  const auto code = [&](const Tensor& w) { return thrown([&] { block_linear(tape, x, w); }).first; };
  CHECK(code(random_tensor(test_arena(), {2, 3, 5}, DType::f32, 1)) == "ERR_SHAPE");
  CHECK(code(random_tensor(test_arena(), {2, 4}, DType::f32, 1)) == "ERR_SHAPE");
  CHECK(code(random_tensor(test_arena(), {2, 3, 4}, DType::bf16, 1)) == "ERR_DTYPE");
}
