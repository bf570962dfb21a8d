#include "optimizer/gradient_norm.h"

#include <cmath>
#include <limits>
#include <vector>

#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

TEST_CASE("norms of many sets equal those of each set alone, and take one launch on a device") {
  const auto arena = test_arena();
  const std::vector<Tensor> grads = {random_tensor(arena, {17}, DType::f32, 1),
                                     random_tensor(arena, {4099}, DType::f32, 2),
                                     random_tensor(arena, {1}, DType::f32, 3)};
  const std::vector<double> alone = {global_norm({grads[0], grads[1]}), 0.0, global_norm({grads[2]})};
  on_every_device([&] {
    CHECK(gradient_norms({{placed(grads[0]), placed(grads[1])}, {}, {placed(grads[2])}}) == alone);
    if (!present_device()) return;
    const std::vector<std::vector<Tensor>> sets = {{placed(grads[0])}, {placed(grads[1])}};
    const int64_t before = present_device()->downloaded();
    gradient_norms(sets);
    CHECK(present_device()->downloaded() - before == 8 * 3);  // a double for each block of 4,096
  });
}

TEST_CASE("on a device the norm has the same bits as on the CPU in every order of threads and blocks") {
  const auto arena = test_arena();
  const Tensor p = random_tensor(arena, {4999}, DType::f32, 1), grad = random_tensor(arena, {4999}, DType::f32, 2);
  const double norm = global_norm({grad, p});
  on_every_order([&] {
    CHECK(global_norm({placed(grad), placed(p)}) == norm);
    return std::vector<Tensor>{};
  });
  if (!test_stream()) return;
  const Tensor there = p.copied_to(std::make_shared<Arena>(test_stream()));
  CHECK(error_code([&] { global_norm({there, p}); }) == "ERR_FOREIGN");
  CHECK(error_code([&] { global_norm({p, there}); }) == "ERR_FOREIGN");
}

TEST_CASE("the gradient norm: exact sums, the same bits on every setting, NaN and infinity propagate") {
  const auto arena = test_arena();
  std::vector<Tensor> grads;
  for (const int64_t count : {1, 0, 17, 4096, 4097, 100000})
    grads.push_back(random_tensor(arena, {count}, DType::f32, static_cast<uint64_t>(count), -3.0, 3.0));
  double exact = 0.0;
  for (const Tensor& grad : grads)
    for (const double value : to_doubles(grad)) exact += value * value;
  const double first = global_norm(grads);
  CHECK(std::fabs(first - std::sqrt(exact)) <= 1e-12 * first);
  const auto norm = [&] {
    std::vector<Tensor> there;
    for (const Tensor& grad : grads) there.push_back(placed(grad));
    return global_norm(there);
  };
  on_every_device([&] { CHECK(norm() == first); });
  CHECK(global_norm({}) == 0.0);
  CHECK(global_norm({from_doubles(arena, {2}, DType::f32, {3e30, 4e30})}) == doctest::Approx(5e30));
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    grads[3].data<float>()[4095] = bad;
    on_every_device([&] { CHECK_FALSE(std::isfinite(norm())); });
  }
}

TEST_CASE("clipping is as in torch.nn.utils.clip_grad_norm_") {
  CHECK(clip_factor(5.5, 1.0) == doctest::Approx(0.5454545021057129 / 3.0));
  CHECK(clip_factor(0.5, 1.0) == 1.0f);
  CHECK(clip_factor(0.0, 1.0) == 1.0f);
  CHECK(std::isnan(clip_factor(std::numeric_limits<double>::quiet_NaN(), 1.0)));
  CHECK(clip_factor(std::numeric_limits<double>::infinity(), 1.0) == 0.0f);
  for (const double bad : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN()})
    CHECK(error_code([&] { clip_factor(1.0, bad); }) == "ERR_ARGUMENT");
}

TEST_CASE("the gradient norm takes only float32") {
  CHECK(error_code([&] { global_norm({Tensor::zeros(test_arena(), {4}, DType::bf16)}); }) == "ERR_DTYPE");
}
