#include "ops/rope/rope.h"

#include <cmath>
#include <cstring>
#include <random>

#include "device/cpu/cpu_path.h"
#include "device/cpu/thread_pool.h"
#include "doctest/doctest.h"

using namespace rubricate;

namespace {

struct PoolSize {
  explicit PoolSize(int threads) : before(ThreadPool::instance().size()) { ThreadPool::instance().resize(threads); }
  ~PoolSize() { ThreadPool::instance().resize(before); }
  int before;
};

struct ForcedPath {
  explicit ForcedPath(CpuPath path) : before(cpu_path()) { force_cpu_path(path); }
  ~ForcedPath() { force_cpu_path(before); }
  CpuPath before;
};

double value_at(const Tensor& x, int64_t i) {
  return x.dtype() == DType::bf16 ? to_float(x.data<bf16>()[i]) : x.data<float>()[i];
}

void set_at(Tensor& x, int64_t i, float value) {
  if (x.dtype() == DType::bf16)
    x.data<bf16>()[i] = from_float<bf16>(value);
  else
    x.data<float>()[i] = value;
}

Tensor noise(const std::shared_ptr<Arena>& arena, Shape shape, DType dtype, uint32_t seed) {
  std::mt19937 bits(seed);
  Tensor x = Tensor::empty(arena, std::move(shape), dtype);
  for (int64_t i = 0; i < x.count(); ++i) set_at(x, i, static_cast<float>(bits() % 4001) / 1000.0f - 2.0f);
  return x;
}

std::vector<float> frequencies(int64_t half) {
  std::vector<float> inv_freq;
  for (int64_t i = 0; i < half; ++i)
    inv_freq.push_back(std::pow(10000.0f, -static_cast<float>(i) / static_cast<float>(half)));
  return inv_freq;
}

const char* error_code(const auto& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.code();
  }
  return "";
}

struct Case {
  int64_t rows, heads, half;
};
const Case kCases[] = {{1, 1, 1}, {3, 2, 5}, {7, 3, 16}, {5, 4, 32}, {2, 1, 40}, {301, 3, 64}, {33, 40, 64}};

}  // namespace

TEST_CASE("rope's table holds cosine and sine of the fp32 angle, times the factor") {
  const std::vector<float> inv_freq = frequencies(6);
  const RopeTable table = RopeTable::make(inv_freq, 1.25f, 1000);
  CHECK(table.half == 6);
  CHECK(table.positions == 1000);
  REQUIRE(table.cos.size() == 6000);
  REQUIRE(table.sin.size() == 6000);
  for (const int64_t position : {0, 1, 17, 999}) {
    for (size_t i = 0; i < 6; ++i) {
      const float angle = static_cast<float>(position) * inv_freq[i];
      const size_t at = static_cast<size_t>(position) * 6 + i;
      CHECK(table.cos[at] == static_cast<float>(1.25 * std::cos(static_cast<double>(angle))));
      CHECK(table.sin[at] == static_cast<float>(1.25 * std::sin(static_cast<double>(angle))));
    }
  }
  CHECK(error_code([] { RopeTable::make({}, 1.0f, 4); }) == std::string("ERR_SHAPE"));
  CHECK(error_code([] { RopeTable::make({1.0f}, 1.0f, 0); }) == std::string("ERR_SHAPE"));
}

TEST_CASE("rope and its gradient against double, on every path, dtype and pool size; a row alone has the same bits") {
  const auto arena = std::make_shared<Arena>();
  for (const Case& c : kCases) {
    const RopeTable table = RopeTable::make(frequencies(c.half), 1.0f, 2048);
    std::vector<int32_t> positions;
    for (int64_t t = 0; t < c.rows; ++t) positions.push_back(static_cast<int32_t>((t * 37 + 5) % 2048));
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const double unit = dtype == DType::bf16 ? 0x1p-8 : 0x1p-24;
      for (const CpuPath path : supported_cpu_paths()) {
        const ForcedPath forced(path);
        CAPTURE(c.rows);
        CAPTURE(c.half);
        CAPTURE(cpu_path_name(path));
        const Tensor x = noise(arena, {c.rows, c.heads * 2 * c.half}, dtype, 1);
        const Tensor g = noise(arena, x.shape(), dtype, 2);
        Tensor first_y, first_dx;
        for (const int threads : {1, 2, 3}) {
          const PoolSize pool(threads);
          Tape tape(arena, Tape::Mode::training);
          auto slot = std::make_shared<GradSlot>();
          slot->dtype = dtype;
          slot->shape = x.shape();
          const Var y = rope(tape, Var(x, slot), c.heads, positions.data(), table);
          const Tensor out = y.value();
          tape.backward(y, g);
          if (!first_y.defined()) {
            first_y = out;
            first_dx = slot->grad;
          }
          CHECK(std::memcmp(first_y.raw(), out.raw(), static_cast<size_t>(out.bytes())) == 0);
          CHECK(std::memcmp(first_dx.raw(), slot->grad.raw(), static_cast<size_t>(out.bytes())) == 0);
        }
        double worst = 0;  // error over what the roundings of two products, a sum and the store allow
        for (int64_t t = 0; t < c.rows; ++t) {
          for (int64_t head = 0; head < c.heads; ++head) {
            for (int64_t i = 0; i < c.half; ++i) {
              const int64_t a = (t * c.heads + head) * 2 * c.half + i, b = a + c.half;
              const size_t at = static_cast<size_t>(positions[static_cast<size_t>(t)] * c.half + i);
              const double cos = table.cos[at], sin = table.sin[at];
              const auto miss = [&](const Tensor& got, int64_t where, double p, double q) {
                const double allowed = 0x1p-23 * (std::abs(p) + std::abs(q)) + unit * std::abs(p + q) + 1e-30;
                worst = std::max(worst, std::abs(value_at(got, where) - (p + q)) / allowed);
              };
              miss(first_y, a, value_at(x, a) * cos, -value_at(x, b) * sin);
              miss(first_y, b, value_at(x, b) * cos, value_at(x, a) * sin);
              miss(first_dx, a, value_at(g, a) * cos, value_at(g, b) * sin);
              miss(first_dx, b, value_at(g, b) * cos, -value_at(g, a) * sin);
            }
          }
        }
        CHECK(worst <= 1.0);
        const int64_t row = c.rows - 1, bytes = x.bytes() / c.rows;
        const Tensor alone = Tensor::empty(arena, {1, x.cols()}, dtype);
        std::memcpy(alone.raw(), static_cast<char*>(x.raw()) + row * bytes, static_cast<size_t>(bytes));
        Tape tape(arena, Tape::Mode::inference);
        const Var y = rope(tape, alone, c.heads, &positions[static_cast<size_t>(row)], table);
        CHECK(std::memcmp(y.value().raw(), static_cast<char*>(first_y.raw()) + row * bytes,
                          static_cast<size_t>(bytes)) == 0);
      }
    }
  }
}

TEST_CASE("rope refuses wrong shapes, dtypes, positions and values of another tape") {
  const auto arena = std::make_shared<Arena>();
  Tape tape(arena, Tape::Mode::training), other(arena, Tape::Mode::training);
  const RopeTable table = RopeTable::make(frequencies(4), 1.0f, 10);
  const int32_t fine[] = {0, 9}, beyond[] = {0, 10}, negative[] = {-1, 0};
  const Tensor x = Tensor::zeros(arena, {2, 16}, DType::f32);
  const auto code = [&](const Var& value, int64_t heads, const int32_t* positions) {
    return std::string(error_code([&] { rope(tape, value, heads, positions, table); }));
  };
  CHECK(code(x, 2, fine) == "");
  CHECK(code(x, 3, fine) == "ERR_SHAPE");
  CHECK(code(x, 0, fine) == "ERR_SHAPE");
  CHECK(code(x.reshaped({2, 2, 8}), 2, fine) == "ERR_SHAPE");
  CHECK(code(Tensor::zeros(arena, {2, 16}, DType::i32), 2, fine) == "ERR_DTYPE");
  CHECK(code(x, 2, beyond) == "ERR_CONTEXT_LENGTH");
  CHECK(code(x, 2, negative) == "ERR_CONTEXT_LENGTH");
  const Var foreign = rope(other, Var::parameter(x), 2, fine, table);
  CHECK(code(foreign, 2, fine) == "ERR_FOREIGN");
  const std::atomic<bool> cancelled{true};
  tape.set_cancel_flag(&cancelled);
  CHECK(code(x, 2, fine) == "ERR_ABORTED");
}
