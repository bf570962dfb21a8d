#include "ops/adamw/adamw.h"

#include <cmath>
#include <limits>
#include <vector>

#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

struct State {
  Tensor p, m, v;
};

State zero_state(const std::shared_ptr<Arena>& arena, const Tensor& parameters) {
  const Tensor zeros = Tensor::zeros(arena, parameters.shape(), DType::f32);
  return {parameters.copied_to(device_arena()), zeros.copied_to(device_arena()), zeros.copied_to(device_arena())};
}

void step(const State& state, const Tensor& grad, int64_t t, const AdamWOptions& options, float target = 0.0f,
          float scale = 1.0f) {
  adamw_step(state.p, placed(grad), state.m, state.v, t, options, target, scale);
}

// The formula of adamw.h in T, `steps` times with the same gradient.
template <typename T>
Doubles reference(const Tensor& parameters, const Tensor& grad, int steps, const AdamWOptions& o, double target,
                  double scale) {
  Doubles out;
  for (int64_t i = 0; i < parameters.count(); ++i) {
    T p = static_cast<T>(element(parameters, i)), m = 0, v = 0;
    for (int t = 1; t <= steps; ++t) {
      const T g = static_cast<T>(element(grad, i)) * static_cast<T>(scale);
      p -= static_cast<T>(o.learning_rate * o.weight_decay) * (p - static_cast<T>(target));
      m += static_cast<T>(1.0 - o.beta1) * (g - m);
      v = static_cast<T>(o.beta2) * v + static_cast<T>(1.0 - o.beta2) * g * g;
      const T root = static_cast<T>(std::sqrt(1.0 - std::pow(o.beta2, t)));
      p -= static_cast<T>(o.learning_rate / (1.0 - std::pow(o.beta1, t))) * m /
           (std::sqrt(v) / root + static_cast<T>(o.eps));
    }
    out.push_back(static_cast<double>(p));
  }
  return out;
}

}  // namespace

TEST_CASE("ten steps of AdamW give the values of torch.optim.AdamW") {
  // torch 2, float64: lr 0.01, betas 0.9 and 0.999, eps 1e-8, weight decay 0.1; element i's gradient at step t (from 0)
  // is ((3 t + 7 i) mod 11 - 5) / 8, halved for element 3.
  const Doubles expected = {1.021437927280416, -0.5239887453361289, 1.9832457353668698, -0.0123863897467867,
                            0.21799842664134023};
  const auto arena = test_arena();
  AdamWOptions options;
  options.learning_rate = 0.01;
  options.weight_decay = 0.1;
  on_every_device([&] {
    const State state = zero_state(arena, from_doubles(arena, {5}, DType::f32, {1.0, -0.5, 2.0, 0.0, 0.25}));
    for (int t = 0; t < 10; ++t) {
      Doubles grad;
      for (int i = 0; i < 5; ++i) grad.push_back(((3 * t + 7 * i) % 11 - 5) * 0.125 * (i == 3 ? 0.5 : 1.0));
      step(state, from_doubles(arena, {5}, DType::f32, grad), t + 1, options);
    }
    check_close(to_doubles(state.p), expected, 1e-6, 1e-7);
  });
}

TEST_CASE("AdamW keeps the precision rule, with decay towards 0 or 1 and a scaled gradient") {
  const auto arena = test_arena();
  struct Case {
    int64_t count;
    double weight_decay, target, scale, low, high;
  };
  const Case cases[] = {{1, 0.0, 0.0, 1.0, -1.0, 1.0},
                        {17, 0.1, 1.0, 1.0, -1e-6, 1e-6},
                        {123, 0.3, 0.0, 0.125, -1e3, 1e3},
                        {70001, 0.1, 1.0, 0.5, -1.0, 1.0}};
  for (const Case& c : cases) {
    CAPTURE(c.count);
    AdamWOptions options;
    options.learning_rate = 0.02;
    options.weight_decay = c.weight_decay;
    const Tensor p = random_tensor(arena, {c.count}, DType::f32, 1);
    const Tensor grad = random_tensor(arena, {c.count}, DType::f32, 2, c.low, c.high);
    const Doubles exact = reference<double>(p, grad, 4, options, c.target, c.scale);
    const Doubles naive = reference<float>(p, grad, 4, options, c.target, c.scale);
    on_every_device([&] {
      const State state = zero_state(arena, p);
      for (int t = 1; t <= 4; ++t)
        step(state, grad, t, options, static_cast<float>(c.target), static_cast<float>(c.scale));
      check_precision(state.p, exact, naive);
    });
  }
}

TEST_CASE("an element's update has the same bits anywhere in a tensor and with any number of threads") {
  const auto arena = test_arena();
  const Tensor p = random_tensor(arena, {100003, 1}, DType::f32, 1),
               grad = random_tensor(arena, {100003, 1}, DType::f32, 2);
  on_every_path([&] {
    const PoolSize one(1);
    const State whole = zero_state(arena, p);
    step(whole, grad, 3, {});
    for (const int threads : {2, 3}) {
      const PoolSize size(threads);
      const int64_t split = ThreadPool::instance().split_regions();
      const State again = zero_state(arena, p);
      step(again, grad, 3, {});
      CHECK(ThreadPool::instance().split_regions() > split);
      CHECK(same_bits(again.p, whole.p));
      CHECK(same_bits(again.m, whole.m));
      CHECK(same_bits(again.v, whole.v));
    }
    const State part = zero_state(arena, copy_rows(arena, p, 99990, 100003));
    step(part, copy_rows(arena, grad, 99990, 100003), 3, {});
    CHECK(same_bits(part.p, copy_rows(arena, whole.p, 99990, 100003)));
  });
}

TEST_CASE("AdamW with a decay target for each element has the bits of one call for each target") {
  const auto arena = test_arena();
  AdamWOptions options;
  options.weight_decay = 0.3;
  for (const int64_t count : {5, 16, 1033}) {
    const Tensor p = random_tensor(arena, {2 * count}, DType::f32, 1),
                 grad = random_tensor(arena, {2 * count}, DType::f32, 2);
    std::vector<float> targets(static_cast<size_t>(2 * count), 0.0f);
    std::fill_n(targets.begin(), count, 1.0f);
    const Tensor own = Tensor::from_host(arena, {2 * count}, DType::f32, targets.data());
    on_every_device([&] {
      const State whole = zero_state(arena, p);
      adamw_step(whole.p, placed(grad), whole.m, whole.v, 2, options, 7.0f, 0.5f, placed(own));
      for (const int64_t half : {0, 1}) {
        const auto part = [&](const Tensor& tensor) {
          return tensor.part(half * count, {count}).copied_to(test_arena());
        };
        const State alone = zero_state(arena, part(p));
        step(alone, part(grad), 2, options, half == 0 ? 1.0f : 0.0f, 0.5f);
        CHECK(same_bits(part(whole.p), alone.p));
        CHECK(same_bits(part(whole.m), alone.m));
        CHECK(same_bits(part(whole.v), alone.v));
      }
    });
  }
  const Tensor p = Tensor::zeros(arena, {4}, DType::f32), other = Tensor::zeros(arena, {5}, DType::f32);
  CHECK(error_code([&] { adamw_step(p, p, p, p, 1, {}, 0.0f, 1.0f, other); }) == "ERR_SHAPE");
  if (!test_stream()) return;
  const Tensor there = p.copied_to(std::make_shared<Arena>(test_stream()));
  CHECK(error_code([&] { adamw_step(p, p, p, p, 1, {}, 0.0f, 1.0f, there); }) == "ERR_FOREIGN");
}

TEST_CASE("on a device, AdamW and rounding have the CPU's bits in every order of threads and blocks") {
  const auto arena = test_arena();
  const Tensor p = random_tensor(arena, {4999}, DType::f32, 1), grad = random_tensor(arena, {4999}, DType::f32, 2);
  AdamWOptions options;
  options.weight_decay = 0.1;
  const auto update = [&] {
    const State state = zero_state(arena, p);
    for (int t = 1; t <= 3; ++t) step(state, grad, t, options, 1.0f, 0.5f);
    return std::vector<Tensor>{state.p, state.m, state.v};
  };
  const auto expected = update();
  on_every_order([&] {
    const auto result = update();
    if (cpu_path() != CpuPath::portable)  // the portable path does not fuse multiply and add
      for (size_t i = 0; i < 3; ++i) CHECK(same_bits(result[i], expected[i]));
    return result;
  });
  if (!test_stream()) return;
  const Tensor there = p.copied_to(std::make_shared<Arena>(test_stream()));
  CHECK(error_code([&] { adamw_step(p, there, p, p, 1, {}, 0.0f, 1.0f); }) == "ERR_FOREIGN");
  CHECK(error_code([&] { round_to_weight(there, p); }) == "ERR_FOREIGN");
}

TEST_CASE("masters are rounded to nearest even in every storage type") {
  const auto arena = test_arena();
  for (const int64_t count : {1, 15, 16, 33, 70001}) {
    const Tensor master = random_tensor(arena, {count}, DType::f32, 7, -1e4, 1e4);
    if (count > 15) {
      const float special[] = {0.0f,  -0.0f,   1.00390625f, 1.01171875f, 65519.0f, 65520.0f,
                               1e-7f, 5.9e-8f, -6e-5f,      1e38f,       -1e-40f};
      std::copy(std::begin(special), std::end(special), master.data<float>());
    }
    on_every_device([&] {
      for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
        const Tensor weight = Tensor::empty(device_arena(), {count}, dtype);
        round_to_weight(placed(master), weight);
        CHECK(same_bits(weight, from_doubles(arena, {count}, dtype, to_doubles(master))));
      }
    });
  }
}

TEST_CASE("wrong arguments of the optimizer give error codes") {
  const auto arena = test_arena();
  const Tensor p = Tensor::zeros(arena, {4}, DType::f32), other = Tensor::zeros(arena, {5}, DType::f32);
  const Tensor half = Tensor::zeros(arena, {4}, DType::bf16), ids = Tensor::zeros(arena, {4}, DType::i32);
  const auto code = [&](const Tensor& parameters, const Tensor& grad, int64_t t, AdamWOptions options) {
    return error_code([&] { adamw_step(parameters, grad, p, p, t, options, 0.0f, 1.0f); });
  };
  CHECK(code(p, other, 1, {}) == "ERR_SHAPE");
  CHECK(code(p, half, 1, {}) == "ERR_DTYPE");
  CHECK(code(half, half, 1, {}) == "ERR_DTYPE");
  CHECK(code({}, p, 1, {}) == "ERR_ARGUMENT");
  CHECK(code(p, p, 0, {}) == "ERR_ARGUMENT");
  CHECK(code(p, p, 1, {-1.0}) == "ERR_ARGUMENT");
  CHECK(code(p, p, 1, {1e-3, 1.0}) == "ERR_ARGUMENT");
  CHECK(code(p, p, 1, {1e-3, 0.9, -0.1}) == "ERR_ARGUMENT");
  CHECK(code(p, p, 1, {1e-3, 0.9, 0.999, std::numeric_limits<double>::quiet_NaN()}) == "ERR_ARGUMENT");
  CHECK(error_code([&] { round_to_weight(half, p); }) == "ERR_DTYPE");
  CHECK(error_code([&] { round_to_weight(p, ids); }) == "ERR_DTYPE");
  CHECK(error_code([&] { round_to_weight(p, other); }) == "ERR_SHAPE");
}
