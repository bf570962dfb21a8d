#include "tests/test_support.h"

namespace rubricate {
namespace {

enum class VecTest {
  f32_to_bf16,
  bf16_to_f32,
  f32_to_f16,
  f16_to_f32,
  round_to_bf16,
  store_rounded,
  exp,
  sigmoid,
  reduce_add,
  reduce_max,
  select,
  lane,
};
struct VecTestArgs {
  VecTest what;
  const void* in;
  void* out;
  int64_t count;
};

}  // namespace
}  // namespace rubricate

#define RUBRICATE_KERNELS "device/cpu/simd/vec_test_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {
namespace {

void run(const VecTestArgs& args) { RUBRICATE_DISPATCH(vec_test, args); }

template <typename To, typename From>
std::vector<To> map(VecTest what, const std::vector<From>& in) {
  std::vector<To> out(in.size());
  run({what, in.data(), out.data(), static_cast<int64_t>(in.size())});
  return out;
}

uint32_t bits(float x) { return std::bit_cast<uint32_t>(x); }

template <typename T>
std::vector<T> all_patterns() {
  std::vector<T> out;
  for (uint32_t i = 0; i < 65536; ++i) out.push_back({static_cast<uint16_t>(i)});
  return out;
}

// Floats around every value where rounding to 16 bits can go wrong.
std::vector<float> rounding_cases() {
  std::vector<float> out;
  for (uint32_t high = 0; high < 65536; ++high)
    for (const uint32_t low : {0x0000u, 0x0001u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu})
      out.push_back(std::bit_cast<float>(high << 16 | low));
  for (uint32_t f = 0; f < 65536; ++f) {  // the midpoints between neighbouring float16 values, and their neighbours
    const float here = to_float(f16{static_cast<uint16_t>(f)}), next = to_float(f16{static_cast<uint16_t>(f + 1)});
    const float middle = (here + next) * 0.5f;
    for (const float x : {here, middle, std::nextafter(middle, 1e30f), std::nextafter(middle, -1e30f)})
      out.push_back(x);
  }
  for (uint64_t i = 0; i < 50000; ++i) out.push_back(std::bit_cast<float>(philox(1, 2, i)[0]));
  return out;
}

// Distance in units in the last place of `expected` (at least of the smallest normal number).
double ulps(float got, double expected) {
  const double magnitude = std::max(std::fabs(expected), 0x1p-126);
  return std::fabs(static_cast<double>(got) - expected) / std::ldexp(1.0, std::ilogb(magnitude) - 23);
}

}  // namespace

TEST_CASE("16-bit floats widen as in the scalar code: all 65,536 patterns, on every path") {
  testing::on_every_path([] {
    const auto b = all_patterns<bf16>();
    const auto wide_b = map<float>(VecTest::bf16_to_f32, b);
    int64_t wrong = 0;
    for (size_t i = 0; i < b.size(); ++i) wrong += bits(wide_b[i]) != bits(to_float(b[i]));
    CHECK(wrong == 0);
    const auto h = all_patterns<f16>();
    const auto wide_h = map<float>(VecTest::f16_to_f32, h);
    for (size_t i = 0; i < h.size(); ++i) wrong += bits(wide_h[i]) != bits(to_float(h[i]));
    CHECK(wrong == 0);
  });
}

TEST_CASE("floats narrow as in the scalar code, including ties, subnormals, infinities and NaNs") {
  const std::vector<float> cases = rounding_cases();
  testing::on_every_path([&] {
    const auto b = map<bf16>(VecTest::f32_to_bf16, cases);
    const auto h = map<f16>(VecTest::f32_to_f16, cases);
    const auto rounded = map<float>(VecTest::round_to_bf16, cases);
    std::vector<bf16> stored(2 * cases.size());  // the stored values, then the returned ones
    run({VecTest::store_rounded, cases.data(), stored.data(), static_cast<int64_t>(cases.size())});
    int64_t wrong = 0;
    for (size_t i = 0; i < cases.size(); ++i) {
      wrong += stored[i].bits != b[i].bits || stored[cases.size() + i].bits != b[i].bits;
      wrong += b[i].bits != from_float<bf16>(cases[i]).bits;
      wrong += h[i].bits != from_float<f16>(cases[i]).bits;
      wrong += bits(rounded[i]) != bits(to_float(b[i]));
    }
    CHECK(wrong == 0);
  });
}

TEST_CASE("the scalar conversions round to nearest even") {
  for (const float x : rounding_cases()) {
    if (!std::isfinite(x)) continue;
    // The nearest multiple of the spacing at x, by the C library's rounding.
    const double d = static_cast<double>(x);
    const int exponent = std::max(x == 0.0f ? -126 : std::ilogb(x), -126);
    const double nearest = std::ldexp(std::nearbyint(std::ldexp(d, 7 - exponent)), exponent - 7);
    const double expected = std::fabs(nearest) >= 0x1p128 ? std::copysign(INFINITY, d) : nearest;
    if (static_cast<double>(to_float(from_float<bf16>(x))) != expected) FAIL("bfloat16 of " << x);
    const int exponent16 = std::max(x == 0.0f ? -14 : std::ilogb(x), -14);
    const double nearest16 = std::ldexp(std::nearbyint(std::ldexp(d, 10 - exponent16)), exponent16 - 10);
    const double expected16 = std::fabs(nearest16) >= 65520.0 ? std::copysign(INFINITY, d) : nearest16;
    if (static_cast<double>(to_float(from_float<f16>(x))) != expected16) FAIL("float16 of " << x);
  }
}

TEST_CASE("exp is within 2 units in the last place and right at its ends") {
  std::vector<float> x;
  for (float v = -104.0f; v < 89.0f; v += 0.00137f) x.push_back(v);
  for (uint64_t i = 0; i < 20000; ++i)
    x.push_back(static_cast<float>(
        testing::element(testing::random_tensor(testing::test_arena(), {1}, DType::f32, i, -1.0, 1.0), 0)));
  testing::on_every_path([&] {
    const auto y = map<float>(VecTest::exp, x);
    double worst = 0.0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double expected = std::exp(static_cast<double>(x[i]));
      if (expected < static_cast<double>(std::numeric_limits<float>::max()))
        worst = std::max(worst, ulps(y[i], expected));
    }
    CHECK(worst <= 2.0);
    const float inf = std::numeric_limits<float>::infinity();
    const auto ends =
        map<float>(VecTest::exp, std::vector<float>{0.0f, -0.0f, -inf, inf, 89.0f, 1e30f, -105.0f, -1e30f});
    CHECK(ends == std::vector<float>{1.0f, 1.0f, 0.0f, inf, inf, inf, 0.0f, 0.0f});
    CHECK(std::isnan(map<float>(VecTest::exp, std::vector<float>{std::nanf("")})[0]));
  });
}

TEST_CASE("sigmoid is finite everywhere and within a few units in the last place") {
  std::vector<float> x;
  for (float v = -80.0f; v < 80.0f; v += 0.01f) x.push_back(v);
  testing::on_every_path([&] {
    const auto y = map<float>(VecTest::sigmoid, x);
    double worst = 0.0;
    for (size_t i = 0; i < x.size(); ++i)
      worst = std::max(worst, ulps(y[i], 1.0 / (1.0 + std::exp(-static_cast<double>(x[i])))));
    CHECK(worst <= 4.0);
    const float inf = std::numeric_limits<float>::infinity();
    CHECK(map<float>(VecTest::sigmoid, std::vector<float>{-inf, -1e30f, inf, 1e30f, 0.0f}) ==
          std::vector<float>{0.0f, 0.0f, 1.0f, 1.0f, 0.5f});
  });
}

TEST_CASE("reduce_add adds in the same tree on every path, reduce_max finds the largest") {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    std::vector<float> x;
    for (uint64_t i = 0; i < 16; ++i)
      x.push_back(static_cast<float>((philox_uniform(seed, 3, i) - 0.5) * std::exp(20.0 * philox_uniform(seed, 4, i))));
    std::vector<float> tree = x;
    for (size_t n = 8; n > 0; n /= 2)
      for (size_t i = 0; i < n; ++i) tree[i] += tree[i + n];
    testing::on_every_path([&] {
      float sum = 0.0f, largest = 0.0f;
      run({VecTest::reduce_add, x.data(), &sum, 16});
      run({VecTest::reduce_max, x.data(), &largest, 16});
      CHECK(bits(sum) == bits(tree[0]));
      CHECK(largest == *std::max_element(x.begin(), x.end()));
    });
  }
}

TEST_CASE("masked steps access only their lanes, and an element's bits do not depend on its lane") {
  std::vector<float> x(64), whole(64);
  for (uint64_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(philox_uniform(1, 5, i) * 20.0 - 10.0);
  testing::on_every_path([&] {
    run({VecTest::exp, x.data(), whole.data(), 64});
    for (int64_t n = 0; n <= 33; ++n)
      for (int64_t offset = 0; offset < 4; ++offset) {
        std::vector<float> out(64, -1.0f);
        run({VecTest::exp, x.data() + offset, out.data(), n});
        for (int64_t i = 0; i < 64; ++i)
          REQUIRE(bits(out[static_cast<size_t>(i)]) == bits(i < n ? whole[static_cast<size_t>(i + offset)] : -1.0f));
        std::vector<bf16> narrow(64, bf16{0x1234});
        run({VecTest::f32_to_bf16, x.data() + offset, narrow.data(), n});
        for (int64_t i = 0; i < 64; ++i)
          REQUIRE(narrow[static_cast<size_t>(i)].bits ==
                  (i < n ? from_float<bf16>(x[static_cast<size_t>(i + offset)]).bits : 0x1234));
      }
    for (int64_t n = 0; n <= 16; ++n) {
      std::vector<float> out(16);
      run({VecTest::select, x.data(), out.data(), n});
      for (int64_t i = 0; i < 16; ++i) CHECK(out[static_cast<size_t>(i)] == x[static_cast<size_t>(i < n ? i : i + 16)]);
    }
    std::vector<float> lanes(16);
    run({VecTest::lane, x.data(), lanes.data(), 16});
    CHECK(lanes == std::vector<float>(x.begin(), x.begin() + 16));
  });
}

}  // namespace rubricate
