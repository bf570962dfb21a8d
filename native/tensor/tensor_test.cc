#include "tensor/tensor.h"

#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

TEST_CASE("a tensor's memory returns to its arena with the last reference") {
  const auto arena = test_arena();
  {
    Tensor a = Tensor::empty(arena, {4, 16}, DType::bf16);
    CHECK(a.bytes() == 128);
    CHECK(arena->stats().used == 128);
    CHECK(a.sole_owner());
    const Tensor b = a.reshaped({64});
    CHECK(!a.sole_owner());
    CHECK(b.raw() == a.raw());
    a = {};
    CHECK(!a.defined());
    CHECK(b.sole_owner());
    CHECK(arena->stats().used == 128);
  }
  CHECK(arena->stats().used == 0);
}

TEST_CASE("rows and columns are those of the flattened matrix") {
  const auto arena = test_arena();
  const auto check = [&](const Shape& shape, int64_t rows, int64_t cols) {
    const Tensor x = Tensor::empty(arena, shape, DType::f32);
    CHECK(x.rows() == rows);
    CHECK(x.cols() == cols);
  };
  check({}, 1, 1);
  check({5}, 1, 5);
  check({2, 3, 4}, 6, 4);
  check({0, 4}, 0, 4);
  check({4, 0}, 0, 0);
}

TEST_CASE("zeros are zero, also in reused memory") {
  const auto arena = test_arena();
  {
    const Tensor used = Tensor::empty(arena, {100}, DType::f32);
    std::fill(used.data<float>(), used.data<float>() + 100, 7.0f);
  }
  for (const double x : to_doubles(Tensor::zeros(arena, {100}, DType::f32))) CHECK(x == 0.0);
}

TEST_CASE("borrowed memory keeps its owner alive") {
  auto owner = std::make_shared<std::vector<float>>(6, 2.0f);
  const std::weak_ptr<std::vector<float>> watch = owner;
  {
    const Tensor x = Tensor::borrow(owner, owner->data(), {2, 3}, DType::f32);
    owner.reset();
    CHECK(!watch.expired());
    CHECK(x.data<float>()[5] == 2.0f);
  }
  CHECK(watch.expired());
}

TEST_CASE("errors name wrong shapes and dtypes") {
  const auto arena = test_arena();
  const Tensor x = Tensor::zeros(arena, {2, 3}, DType::f32);
  CHECK(error_code([&] { x.data<bf16>(); }) == "ERR_DTYPE");
  CHECK(error_code([&] { x.reshaped({7}); }) == "ERR_SHAPE");
  CHECK(error_code([&] { x.reshaped({-2, -3}); }) == "ERR_SHAPE");
  CHECK(error_code([&] { Tensor::empty(arena, {int64_t{1} << 40, int64_t{1} << 40}, DType::f32); }) == "ERR_SHAPE");
  CHECK(shape_text({}) == "[]");
  CHECK(shape_text({2, 3}) == "[2, 3]");
}

TEST_CASE("a part shares the whole tensor's memory and keeps it alive") {
  const auto arena = std::make_shared<Arena>();
  Tensor part;
  {
    const Tensor whole = Tensor::zeros(arena, {10}, DType::f32);
    part = whole.part(4, {2, 3});
    CHECK(part.data<float>() == whole.data<float>() + 4);
    CHECK(part.shape() == Shape{2, 3});
    part.part(5, {1}).data<float>()[0] = 7.0f;
    CHECK(whole.data<float>()[9] == 7.0f);
    CHECK(error_code([&] { whole.part(8, {3}); }) == "ERR_INTERNAL");
    CHECK(error_code([&] { whole.part(-1, {3}); }) == "ERR_INTERNAL");
  }
  CHECK(arena->stats().used > 0);
  CHECK(part.data<float>()[5] == 7.0f);
  CHECK(part.on_cpu().raw() == part.raw());
  part = {};
  CHECK(arena->stats().used == 0);
}
