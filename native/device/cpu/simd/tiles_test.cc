// The tiles' products have the order of sums that tiles.h documents: on a processor that has them, and in the emulation.
#if defined(__x86_64__)
#include "device/cpu/simd/tiles.h"

#include <cmath>
#include <cstring>
#include <random>

#include "device/cpu/cpu_path.h"
#include "doctest/doctest.h"
#include "tests/test_support.h"

using namespace rubricate;

namespace {

constexpr int64_t kRows = tiles::kRows, kWords = tiles::kWords, kK = 2 * kWords;

float normal(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }

struct Operands {
  alignas(64) bf16 a[kRows][kK];
  alignas(64) bf16 b[kWords][kWords][2];  // [pair of k][column][which of the pair]
  alignas(64) float sums[kRows][kWords];
};

// exponent: of the largest values; the smallest products are below the normal range if it is low.
Operands random_operands(uint32_t seed, int exponent) {
  std::mt19937 random(seed);
  const auto value = [&](int least) {
    const float fraction = 1.0f + static_cast<float>(random() % 128) / 128.0f;
    const float sign = random() % 2 == 0 ? 1.0f : -1.0f;
    return sign * std::ldexp(fraction, exponent - static_cast<int>(random() % static_cast<uint32_t>(least)));
  };
  Operands x;
  for (auto& row : x.a)
    for (bf16& v : row) v = from_float<bf16>(value(20));
  for (auto& pair : x.b)
    for (auto& column : pair)
      for (bf16& v : column) v = from_float<bf16>(value(20));
  for (auto& row : x.sums)
    for (float& v : row) v = value(30);
  return x;
}

// Sums of even and of odd k, each a chain from zero; their sum is added to the previous value. Subnormals count as zero.
float expected(const Operands& x, int64_t row, int64_t column) {
  float sums[2] = {};
  for (int64_t pair = 0; pair < kWords; ++pair)
    for (int64_t which = 0; which < 2; ++which)
      sums[which] = normal(std::fma(normal(to_float(x.a[row][2 * pair + which])),
                                    normal(to_float(x.b[pair][column][which])), sums[which]));
  return normal(normal(x.sums[row][column]) + normal(sums[0] + sums[1]));
}

}  // namespace

TEST_CASE("tiles: a product adds the sums of even and odd k, and counts subnormals as zero") {
  if (!tiles::available()) {
    MESSAGE("not tested: this processor has no tiles");
    return;
  }
  for (const int exponent : {4, -50, -110})
    for (uint32_t seed = 0; seed < 20; ++seed) {
      Operands x = random_operands(seed, exponent);
      float got[kRows][kWords];
      {
        const tiles::TileScope scope;
        tiles::load<0>(x.sums, tiles::kRowBytes);
        tiles::load<1>(x.a, tiles::kRowBytes);
        tiles::load<2>(x.b, tiles::kRowBytes);
        tiles::multiply_add<0, 1, 2>();
        tiles::store<0>(got, tiles::kRowBytes);
      }
      for (int64_t row = 0; row < kRows; ++row)
        for (int64_t column = 0; column < kWords; ++column) {
          const float right = expected(x, row, column);
          CHECK(std::memcmp(&got[row][column], &right, sizeof right) == 0);
        }
    }
}
#endif
