#include "ops/linear/linear.h"

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "device/cpu/cpu_path.h"
#include "device/cpu/thread_pool.h"
#include "doctest/doctest.h"
#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

// A gradient: element i is the sum over k < terms of product(i, k), a pair of factors.
template <typename Product>
void check_gradient(const Tensor& grad, int64_t terms, Product&& product) {
  Doubles expected, naive;
  for (int64_t i = 0; i < grad.count(); ++i) {
    double exact = 0.0;
    float plain = 0.0f;
    for (int64_t k = 0; k < terms; ++k) {
      const auto [a, b] = product(i, k);
      exact += a * b;
      plain += static_cast<float>(a) * static_cast<float>(b);
    }
    expected.push_back(exact);
    naive.push_back(static_cast<double>(plain));
  }
  check_precision(grad, expected, naive);
}

}  // namespace

TEST_CASE("linear: gradients of x, the weight and the bias") {
  const auto arena = std::make_shared<Arena>();
  on_every_device([&] {
    for (const ProductDtypes& kind : kProductDtypes)
      for (const auto& [t, n, k] :
           std::vector<std::array<int64_t, 3>>{{1, 1, 1}, {3, 17, 33}, {64, 7, 100}, {13, 257, 5}}) {
        CAPTURE(t);
        CAPTURE(n);
        CAPTURE(k);
        const Tensor xt = random_tensor(arena, {t, k}, kind.a, 1), wt = random_tensor(arena, {n, k}, kind.b, 2);
        const Tensor dy = random_tensor(arena, {t, n}, kind.c, 3);
        // As the two matmuls of the backward see it.
        const Tensor factor = kind.a == DType::bf16 ? random_tensor(arena, {t, n}, DType::bf16, 3) : dy;
        const Var x = Var::parameter(placed(xt));
        const Var bias = Var::parameter(placed(random_tensor(arena, {n}, DType::f32, 4)));
        Weight weight = Weight::of(placed(wt));
        weight.gradient = Var::parameter(weight.storage).slot();
        Tape tape(device_arena(), Tape::Mode::training);
        const Var y = linear(tape, x, weight, bias, kind.c);
        tape.backward(y, placed(dy));
        check_gradient(fetched(x.grad()), n, [&](int64_t i, int64_t j) {
          return std::pair(element(factor, i / k * n + j), element(wt, j * k + i % k));
        });
        check_gradient(fetched(weight.gradient->grad), t, [&](int64_t i, int64_t row) {
          return std::pair(element(factor, row * n + i / k), element(xt, row * k + i % k));
        });
        check_gradient(fetched(bias.grad()), t,
                       [&](int64_t i, int64_t row) { return std::pair(element(dy, row * n + i), 1.0); });
        CHECK(weight.gradient->grad.dtype() == DType::f32);

        // The second time adds to the first.
        const Doubles once = to_doubles(weight.gradient->grad);
        Tape again(device_arena(), Tape::Mode::training);
        again.backward(linear(again, x, weight, bias, kind.c), placed(dy));
        const Doubles twice = to_doubles(weight.gradient->grad);
        for (size_t i = 0; i < once.size(); ++i) CHECK(twice[i] == doctest::Approx(2.0 * once[i]).epsilon(1e-4));
      }
  });
}

TEST_CASE("linear: on a device, the same bits in every order of threads and blocks") {
  const auto arena = std::make_shared<Arena>();
  for (const ProductDtypes& kind : kProductDtypes) {
    const Tensor xt = random_tensor(arena, {67, 40}, kind.a, 1), wt = random_tensor(arena, {70, 40}, kind.b, 2);
    const Tensor dy = random_tensor(arena, {67, 70}, kind.c, 3), bt = random_tensor(arena, {70}, DType::f32, 4);
    on_every_order([&] {
      const Var x = Var::parameter(placed(xt)), bias = Var::parameter(placed(bt));
      Weight weight = Weight::of(placed(wt));
      weight.gradient = Var::parameter(weight.storage).slot();
      Tape tape(device_arena(), Tape::Mode::training);
      const Var y = linear(tape, x, weight, bias, kind.c);
      tape.backward(y, placed(dy));
      return std::vector<Tensor>{y.value(), x.grad(), weight.gradient->grad, bias.grad()};
    });
  }
}

TEST_CASE("linears: the same bits as each layer alone, for few rows of x in one parallel region") {
  const auto arena = std::make_shared<Arena>();
  const Weight wide = Weight::of(random_tensor(arena, {1000, 512}, DType::bf16, 1));
  const Weight narrow = Weight::of(random_tensor(arena, {5, 512}, DType::bf16, 2));
  const Weight other = Weight::of(random_tensor(arena, {700, 512}, DType::f16, 3));
  const Var bias = random_tensor(arena, {1000}, DType::f32, 4);
  const PoolSize size(2);
  for (const CpuPath path : tested_cpu_paths()) {
    const PathScope on(path);
    CAPTURE(cpu_path_name(path));
    for (const int64_t rows : {1, 3, 8, 16, 17}) {
      CAPTURE(rows);
      const Var x = random_tensor(arena, {rows, 512}, DType::bf16, 5);
      Tape tape(arena, Tape::Mode::inference);
      const auto check = [&](const std::vector<Linear>& layers) {
        const std::vector<Var> results = linears(tape, x, layers);
        REQUIRE(results.size() == layers.size());
        for (size_t i = 0; i < layers.size(); ++i) {
          const Tensor alone = linear(tape, x, layers[i].weight, layers[i].bias, layers[i].out).value();
          REQUIRE(results[i].value().bytes() == alone.bytes());
          CHECK(std::memcmp(results[i].value().raw(), alone.raw(), static_cast<size_t>(alone.bytes())) == 0);
        }
      };
      check({});
      check({{wide, bias, DType::f32}, {narrow, {}, DType::bf16}, {other, {}, DType::bf16}});
      const int64_t before = ThreadPool::instance().split_regions();
      linears(tape, x, {{wide, bias, DType::f32}, {wide, {}, DType::bf16}});
      const int64_t regions = ThreadPool::instance().split_regions() - before;
      const bool together = rows < 17 && path != CpuPath::portable;
      CHECK(regions == (together ? 1 : 2));
    }
  }
}

TEST_CASE("linears: gradients of each layer") {
  const auto arena = std::make_shared<Arena>();
  const Weight first = Weight::of(random_tensor(arena, {9, 8}, DType::f32, 1));
  const Weight second = Weight::of(random_tensor(arena, {7, 8}, DType::f32, 2));
  const auto gradient = [&](bool together) {
    const Var x = Var::parameter(random_tensor(arena, {3, 8}, DType::f32, 3));
    Tape tape(arena, Tape::Mode::training);
    const Var a = together ? Var() : linear(tape, x, first, {}, DType::f32);
    const Var b = together ? Var() : linear(tape, x, second, {}, DType::f32);
    const std::vector<Var> both =
        together ? linears(tape, x, {{first, {}, DType::f32}, {second, {}, DType::f32}}) : std::vector<Var>{a, b};
    tape.accumulate(both[0].slot(), random_tensor(arena, {3, 9}, DType::f32, 4));
    tape.backward(both[1], random_tensor(arena, {3, 7}, DType::f32, 5));
    const Tensor grad = x.grad();
    return std::vector<float>(grad.data<float>(), grad.data<float>() + grad.count());
  };
  CHECK(gradient(true) == gradient(false));
}

TEST_CASE("linear: records only what a gradient needs") {
  const auto arena = std::make_shared<Arena>();
  const Tensor x = random_tensor(arena, {3, 8}, DType::f32, 1);
  const Weight frozen = Weight::of(random_tensor(arena, {5, 8}, DType::f16, 2));
  Tape tape(arena, Tape::Mode::training);
  CHECK_FALSE(linear(tape, x, frozen, {}, DType::f32).requires_grad());
  CHECK(tape.recorded() == 0);
  CHECK(linear(tape, Var::parameter(x), frozen, {}, DType::f32).requires_grad());
  CHECK(tape.recorded() == 1);
  Tape serving(arena, Tape::Mode::inference);
  CHECK_FALSE(linear(serving, Var::parameter(x), frozen, {}, DType::f32).requires_grad());
}

TEST_CASE("linear: refuses wrong shapes and dtypes") {
  const auto arena = std::make_shared<Arena>();
  Tape tape(arena, Tape::Mode::training), other(arena, Tape::Mode::training);
  const Tensor x = random_tensor(arena, {3, 8}, DType::f32, 1);
  const Weight weight = Weight::of(random_tensor(arena, {5, 8}, DType::f32, 2));
  const auto code = [&](const Var& x, const Weight& weight, const Var& bias, DType out) {
    return error_code([&] { linear(tape, x, weight, bias, out); });
  };
  CHECK(code(x, weight, {}, DType::f32).empty());
  CHECK(code(random_tensor(arena, {3, 7}, DType::f32, 1), weight, {}, DType::f32) == "ERR_SHAPE");
  CHECK(code(random_tensor(arena, {8}, DType::f32, 1), weight, {}, DType::f32) == "ERR_SHAPE");
  CHECK(code(random_tensor(arena, {3, 8}, DType::f16, 1), weight, {}, DType::f32) == "ERR_DTYPE");
  CHECK(code(x, weight, {}, DType::f16) == "ERR_DTYPE");
  CHECK(code(x, weight, random_tensor(arena, {4}, DType::f32, 1), DType::f32) == "ERR_SHAPE");
  CHECK(code(x, weight, random_tensor(arena, {5}, DType::bf16, 1), DType::f32) == "ERR_DTYPE");
  CHECK(code({}, weight, {}, DType::f32) == "ERR_ARGUMENT");
  CHECK(code(x, {}, {}, DType::f32) == "ERR_ARGUMENT");
  const Var foreign = linear(other, Var::parameter(x), weight, {}, DType::f32);
  CHECK(code(foreign, Weight::of(random_tensor(arena, {2, 5}, DType::f32, 2)), {}, DType::f32) == "ERR_FOREIGN");
  const std::atomic<bool> cancelled{true};
  tape.set_cancel_flag(&cancelled);
  CHECK(code(x, weight, {}, DType::f32) == "ERR_ABORTED");
  float c = 0.0f;
  MatmulArgs args;
  args.m = args.n = args.k = 1, args.accumulate = true, args.c = &c, args.c_dtype = DType::bf16;
  CHECK(error_code([&] { matmul_cpu(args); }) == "ERR_DTYPE");
}
