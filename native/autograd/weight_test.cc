#include "autograd/weight.h"

#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

TEST_CASE("a weight is a view of a matrix and keeps it alive") {
  const auto arena = test_arena();
  Tensor x = random_tensor(arena, {3, 5}, DType::bf16, 1);
  const Weight weight = Weight::of(x);
  const void* data = x.raw();
  x = {};
  CHECK(weight.view.data == data);
  CHECK(weight.view.row(2) == static_cast<const char*>(data) + 2 * 5 * 2);
  CHECK(arena->stats().used > 0);
  CHECK(!Weight().defined());
  CHECK(error_code([&] { Weight::of(Tensor::zeros(arena, {3}, DType::f32)); }) == "ERR_SHAPE");
  CHECK(error_code([&] { Weight::of(Tensor::zeros(arena, {3, 3}, DType::i32)); }) == "ERR_DTYPE");
}
