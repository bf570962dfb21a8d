#include "tensor/add_in_place.h"

#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

TEST_CASE("add_in_place: the sum is computed in fp32 and rounded once") {
  const auto arena = test_arena();
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const Shape& shape : {Shape{1}, Shape{3, 5}, Shape{7, 33}, Shape{100, 1001}, Shape{0, 4}}) {
      const Tensor a = random_tensor(arena, shape, dtype, 9), b = random_tensor(arena, shape, dtype, 10);
      Doubles total = to_doubles(a);
      for (int64_t i = 0; i < a.count(); ++i) total[static_cast<size_t>(i)] += element(b, i);
      on_every_device([&] {
        const Tensor out = placed(from_doubles(arena, shape, dtype, to_doubles(a)));
        add_in_place(out, placed(b));
        CHECK(same_bits(out, from_doubles(arena, shape, dtype, total)));
      });
    }
  CHECK(error_code([&] {
          add_in_place(random_tensor(arena, {3}, DType::f32, 1), random_tensor(arena, {4}, DType::f32, 1));
        }) == "ERR_SHAPE");
  CHECK(error_code([&] {
          add_in_place(random_tensor(arena, {3}, DType::f32, 1), random_tensor(arena, {3}, DType::bf16, 1));
        }) == "ERR_DTYPE");
  if (!test_stream()) return;
  const Tensor here = random_tensor(arena, {3}, DType::f32, 1);
  const Tensor there = here.copied_to(std::make_shared<Arena>(test_stream()));
  CHECK(error_code([&] { add_in_place(here, there); }) == "ERR_FOREIGN");
}
