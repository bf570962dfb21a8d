#include "adapter/merge.h"

#include <vector>

#include "doctest/doctest.h"
#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

const std::atomic<bool> kNotCancelled{false};

Tensor tensor_of(Shape shape, const std::vector<float>& values) {
  return Tensor::from_host(std::make_shared<Arena>(), std::move(shape), DType::f32, values.data());
}

std::vector<float> merged(const Shape& shape, const Tensor* from, const LinearMerge& merge) {
  const Tensor to = Tensor::empty(std::make_shared<Arena>(), shape, DType::f32);
  merge_linear(to, from, merge, kNotCancelled);
  return {to.data<float>(), to.data<float>() + to.count()};
}

}  // namespace

TEST_CASE("a merged weight is diag(scale) (W diag(input_scale) + factor B A + S), a merged bias scale * b + bias") {
  const Tensor w = tensor_of({2, 3}, {1, 2, 3, 4, 5, 6});
  LinearMerge merge;
  merge.rank = 2;
  merge.factor = 0.5f;
  merge.a = {1, 0, 2, 0, 4, 0};  // [2, 3]
  merge.b = {2, 4, 6, 8};        // [2, 2]
  CHECK(merged({2, 3}, &w, merge) == std::vector<float>{2, 10, 5, 7, 21, 12});
  merge.scale = {2, -1};
  CHECK(merged({2, 3}, &w, merge) == std::vector<float>{4, 20, 10, -7, -21, -12});
  merge.input_scale = {3, 2, 0};  // not of the low-rank update's input
  CHECK(merged({2, 3}, &w, merge) == std::vector<float>{8, 24, 4, -15, -26, -6});

  LinearMerge sparse;
  sparse.sparse_indices = {1, 3, 5};
  sparse.sparse_values = {10, 20, -30};
  CHECK(sparse.changes());
  CHECK(merged({2, 3}, &w, sparse) == std::vector<float>{1, 12, 3, 24, 5, -24});
  sparse.scale = {2, -1};
  CHECK(merged({2, 3}, &w, sparse) == std::vector<float>{2, 24, 6, -24, -5, 24});
  sparse.input_scale = {3, 2, 0};  // not of the sparse update's input
  CHECK(merged({2, 3}, &w, sparse) == std::vector<float>{6, 28, 0, -32, -10, 30});

  const Tensor b = tensor_of({2}, {3, 5});
  LinearMerge vector;
  vector.scale = {2, -1};
  vector.bias = {10, 20};
  CHECK(merged({2}, &b, vector) == std::vector<float>{16, 15});
  CHECK(merged({2}, nullptr, vector) == std::vector<float>{10, 20});
  LinearMerge own;
  own.own = {7, 8};
  CHECK(own.changes());
  CHECK(merged({2}, &b, own) == std::vector<float>{7, 8});
}

TEST_CASE("a merged weight is rounded once, to bfloat16") {
  // 1 + 2^-8 is a tie between two bfloat16; the update of 2^-20 decides it only if the sum is not rounded before.
  const Tensor w = tensor_of({1, 1}, {1.0f + 0x1p-8f});
  LinearMerge merge;
  merge.rank = 1;
  merge.factor = 1.0f;
  merge.a = {1};
  merge.b = {0x1p-20f};
  const Tensor to = Tensor::empty(std::make_shared<Arena>(), {1, 1}, DType::bf16);
  merge_linear(to, &w, merge, kNotCancelled);
  CHECK(*static_cast<const uint16_t*>(to.raw()) == 0x3f81);
}

TEST_CASE("a merge checks its sizes, and stops when it is cancelled") {
  const Tensor w = tensor_of({2, 3}, {1, 2, 3, 4, 5, 6});
  const auto code = [&](const LinearMerge& merge, const Shape& shape) {
    return thrown([&] { merged(shape, &w, merge); }).first;
  };
  LinearMerge merge;
  merge.scale = {1};
  CHECK(code(merge, {2, 3}) == "ERR_SHAPE");
  merge.scale = {};
  merge.bias = {1, 2};  // of a matrix
  CHECK(code(merge, {2, 3}) == "ERR_SHAPE");
  merge.bias = {};
  merge.input_scale = {1, 2};
  CHECK(code(merge, {2, 3}) == "ERR_SHAPE");
  merge.input_scale = {};
  merge.own = {1, 2};  // of a matrix
  CHECK(code(merge, {2, 3}) == "ERR_SHAPE");
  merge.own = {};
  merge.rank = 1;
  merge.a = {1, 2, 3};
  merge.b = {1};
  CHECK(code(merge, {2, 3}) == "ERR_SHAPE");
  merge.b = {1, 2};
  CHECK(code(merge, {3, 2}) == "ERR_SHAPE");
  LinearMerge sparse;
  sparse.sparse_indices = {1, 3};
  sparse.sparse_values = {1};
  CHECK(code(sparse, {2, 3}) == "ERR_SHAPE");
  sparse.sparse_values = {1, 2};
  sparse.sparse_indices = {3, 1};
  CHECK(code(sparse, {2, 3}) == "ERR_ARGUMENT");
  sparse.sparse_indices = {1, 6};
  CHECK(code(sparse, {2, 3}) == "ERR_ARGUMENT");
  sparse.sparse_indices = {-1, 1};
  CHECK(code(sparse, {2, 3}) == "ERR_ARGUMENT");
  const std::atomic<bool> cancelled{true};
  const Tensor to = Tensor::empty(std::make_shared<Arena>(), {2, 3}, DType::f32);
  CHECK(thrown([&] { merge_linear(to, &w, merge, cancelled); }).first == "ERR_ABORTED");
}
