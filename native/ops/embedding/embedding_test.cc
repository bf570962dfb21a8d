#include "ops/embedding/embedding.h"

#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

std::vector<int32_t> random_tokens(int64_t count, int64_t vocabulary, uint64_t seed) {
  std::vector<int32_t> tokens;
  for (int64_t t = 0; t < count; ++t)
    tokens.push_back(
        static_cast<int32_t>(philox_uniform(seed, 1, static_cast<uint64_t>(t)) * static_cast<double>(vocabulary)));
  return tokens;
}

const std::vector<std::pair<int64_t, int64_t>> kShapes = {{1, 1}, {5, 16}, {40, 33}, {300, 259}, {0, 8}};  // T, d

}  // namespace

TEST_CASE("embedding: rows of the weight, for any dtype and alignment") {
  const auto arena = test_arena();
  for (const DType stored : {DType::f32, DType::bf16, DType::f16})
    for (const DType out : {DType::f32, DType::bf16})
      for (const auto& [count, cols] : kShapes) {
        const int64_t vocabulary = 11, stride = cols + 3;
        const Tensor matrix = random_tensor(arena, {vocabulary, stride}, stored, 1);
        std::vector<char> bytes(static_cast<size_t>(matrix.bytes()) + 1);
        std::memcpy(bytes.data() + 1, matrix.raw(), static_cast<size_t>(matrix.bytes()));
        const Weight weight{{bytes.data() + 1, stored, vocabulary, cols, stride}, {}, nullptr};
        const auto tokens = random_tokens(count, vocabulary, 2);
        Doubles expected;
        for (const int32_t token : tokens)
          for (int64_t j = 0; j < cols; ++j) expected.push_back(element(matrix, token * stride + j));
        const Tensor rounded = from_doubles(arena, {count, cols}, out, expected);
        on_every_setting([&] {
          Tape tape(arena, Tape::Mode::training);
          CHECK(same_bits(embedding(tape, tokens.data(), count, weight, out).value(), rounded));
          CHECK(tape.recorded() == 0);
        });
      }
}

TEST_CASE("embedding: rows of the weight on a device, with any offset and stride") {
  const auto arena = test_arena();
  for (const DType stored : {DType::f32, DType::bf16, DType::f16})
    for (const DType out : {DType::f32, DType::bf16})
      for (const auto& [count, cols] : kShapes)
        for (const int64_t more : {0, 3, 8}) {
          const int64_t vocabulary = 11, stride = cols + more, offset = more == 8 ? 0 : more;
          const Tensor matrix = random_tensor(arena, {vocabulary, stride}, stored, 1);
          const auto tokens = random_tokens(count, vocabulary, 2);
          Doubles expected;
          for (const int32_t token : tokens)
            for (int64_t j = 0; j < cols; ++j) expected.push_back(element(matrix, token * stride + offset + j));
          const Tensor rounded = from_doubles(arena, {count, cols}, out, expected);
          on_every_device([&] {
            const Tensor there = placed(matrix);
            const char* const first = static_cast<const char*>(there.raw()) + offset * dtype_size(stored);
            Tape tape(device_arena(), Tape::Mode::training);
            const Weight weight{{first, stored, vocabulary, cols, stride}, there, nullptr};
            CHECK(same_bits(embedding(tape, tokens.data(), count, weight, out).value(), rounded));
          });
        }
}

TEST_CASE("embedding: the gradient adds the rows of a token in order") {
  const auto arena = test_arena();
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const auto& [count, cols] : kShapes) {
      const int64_t vocabulary = 7;
      const auto tokens = random_tokens(count, vocabulary, 3);
      const Tensor grad = random_tensor(arena, {count, cols}, dtype, 4);
      const Tensor expected = Tensor::zeros(arena, {vocabulary, cols}, DType::f32);
      for (int64_t t = 0; t < count; ++t)
        for (int64_t j = 0; j < cols; ++j)
          expected.data<float>()[tokens[static_cast<size_t>(t)] * cols + j] +=
              static_cast<float>(element(grad, t * cols + j));
      const auto gradient = [&] {
        const Tensor matrix = placed(random_tensor(arena, {vocabulary, cols}, DType::f32, 5));
        Weight weight = Weight::of(matrix);
        weight.gradient = Var::parameter(matrix).slot();
        Tape tape(device_arena(), Tape::Mode::training);
        tape.backward(embedding(tape, tokens.data(), count, weight, dtype), placed(grad));
        return weight.gradient->grad;
      };
      on_every_device([&] { CHECK(same_bits(gradient(), expected)); });
      if (count < 100) on_every_order([&] { return std::vector<Tensor>{gradient()}; });
    }
}

TEST_CASE("embedding: wrong arguments") {
  const auto arena = test_arena();
  Tape tape(arena, Tape::Mode::training);
  const Weight weight = Weight::of(random_tensor(arena, {4, 8}, DType::f32, 1));
  const auto code = [&](std::vector<int32_t> tokens, const Weight& weight, DType out) {
    return error_code([&] { embedding(tape, tokens.data(), static_cast<int64_t>(tokens.size()), weight, out); });
  };
  CHECK(code({0, 3}, weight, DType::f32) == "");
  CHECK(code({0, 4}, weight, DType::f32) == "ERR_ARGUMENT");
  CHECK(code({-1}, weight, DType::f32) == "ERR_ARGUMENT");
  CHECK(code({0}, Weight{}, DType::f32) == "ERR_ARGUMENT");
  CHECK(code({0}, weight, DType::f16) == "ERR_DTYPE");
  const std::atomic<bool> cancelled{true};
  tape.set_cancel_flag(&cancelled);
  CHECK(code({0}, weight, DType::f32) == "ERR_ABORTED");
}
