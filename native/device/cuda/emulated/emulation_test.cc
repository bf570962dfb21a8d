// The emulation computes the same as a GPU: indices, warp functions, tensor core fragments, copies.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/random.h"
#include "device/cuda/kernel.h"
#include "doctest/doctest.h"

using namespace rubricate;
using namespace rubricate::cuda;

namespace {

RubricateStream test_stream{nullptr, 0, 80, 4, 163 << 10, nullptr};

class Seed {
 public:
  explicit Seed(int seed) { setenv("RUBRICATE_EMULATION_SEED", std::to_string(seed).c_str(), 1); }
  ~Seed() { unsetenv("RUBRICATE_EMULATION_SEED"); }
};

__global__ void number_threads(int64_t* numbers) {
  const int64_t block = blockIdx.x + int64_t{gridDim.x} * (blockIdx.y + int64_t{gridDim.y} * blockIdx.z);
  const int64_t thread = threadIdx.x + int64_t{blockDim.x} * (threadIdx.y + int64_t{blockDim.y} * threadIdx.z);
  const int64_t threads = int64_t{blockDim.x} * blockDim.y * blockDim.z;
  atomicAdd(&numbers[block * threads + thread], block * 1000 + thread);
}

struct WarpResults {
  int from_5, from_2_of_8, xor_3, up_1, down_4_of_8;
  uint32_t odd;
  float sum, most, quarter;
};
__global__ void warp_functions(WarpResults* results) {
  const int lane = lane_index(), value = 10 * lane;
  WarpResults mine;
  mine.from_5 = __shfl_sync(kAllLanes, value, 5);
  mine.from_2_of_8 = __shfl_sync(kAllLanes, value, 2, 8);
  mine.xor_3 = __shfl_xor_sync(kAllLanes, value, 3);
  mine.up_1 = __shfl_up_sync(kAllLanes, value, 1);
  mine.down_4_of_8 = __shfl_down_sync(kAllLanes, value, 4, 8);
  mine.odd = __ballot_sync(kAllLanes, lane % 2 == 1);
  mine.sum = warp_sum(static_cast<float>(lane));
  mine.most = warp_max(static_cast<float>(lane % 30));
  mine.quarter = warp_sum<8>(1.0f * static_cast<float>(lane));
  results[threadIdx.x] = mine;
}

template <int threads>
__device__ __forceinline__ float block_sum(float x, float* partial) {
  x = warp_sum(x);
  __syncthreads();
  if (lane_index() == 0) partial[warp_index()] = x;
  __syncthreads();
  float total = partial[0];
#pragma unroll
  for (int warp = 1; warp < threads / kWarpSize; ++warp) total += partial[warp];
  return total;
}
__global__ void sum_of_block(const float* x, float* y) {
  RUBRICATE_SHARED(float[4], partial);
  const float sum = block_sum<128>(x[threadIdx.x], partial);
  y[threadIdx.x] = sum + block_max<128>(x[threadIdx.x], partial);
}

// One warp: loads fragments from row-major A and B and stores D, in the layout that mma.h describes.
template <bool shuffles>
__global__ void multiply_bf16(const uint16_t* a, const uint16_t* b, float* d) {
  const int group = lane_index() / 4, quad = lane_index() % 4;
  uint32_t fa[4], fb[2];
  for (int i = 0; i < 4; ++i) {
    const uint16_t* const pair = a + (group + 8 * (i % 2)) * 16 + 2 * quad + 8 * (i / 2);
    fa[i] = pair[0] | static_cast<uint32_t>(pair[1]) << 16;
  }
  for (int i = 0; i < 2; ++i) {
    const uint16_t* const pair = b + (2 * quad + 8 * i) * 8 + group;
    fb[i] = pair[0] | static_cast<uint32_t>(pair[8]) << 16;
  }
  float fd[4];
  for (int i = 0; i < 4; ++i) fd[i] = d[(group + 8 * (i / 2)) * 8 + 2 * quad + i % 2];
  shuffles ? mma_bf16_by_shuffles(fd, fa, fb) : mma_bf16(fd, fa, fb);
  for (int i = 0; i < 4; ++i) d[(group + 8 * (i / 2)) * 8 + 2 * quad + i % 2] = fd[i];
}
__global__ void matrices(const uint16_t* x, uint32_t* plain, uint32_t* transposed) {
  RUBRICATE_SHARED(uint16_t[32][8], tile);
  const int lane = lane_index();
  copy_async_16(tile[lane], x + 8 * lane);
  copy_async_commit();
  copy_async_wait<0>();
  __syncwarp();
  uint32_t words[4];
  load_matrices(words, tile[lane]);
  for (int i = 0; i < 4; ++i) plain[4 * lane + i] = words[i];
  load_matrices_transposed(words, tile[lane]);
  for (int i = 0; i < 4; ++i) transposed[4 * lane + i] = words[i];
}

}  // namespace

TEST_CASE("every thread of every block runs once, for any seed") {
  for (const int seed : {0, 1, 2}) {
    const Seed scope(seed);
    std::vector<int64_t> numbers(24 * 60, 0);
    CHECK(RUBRICATE_LAUNCH(number_threads, dim3(4, 3, 2), dim3(5, 6, 2), 0, &test_stream, numbers.data()) ==
          RUBRICATE_OK);
    for (int64_t i = 0; i < 24 * 60; ++i) CHECK(numbers[static_cast<size_t>(i)] == i / 60 * 1000 + i % 60);
  }
}

TEST_CASE("warp functions behave as in the programming guide") {
  for (const int seed : {0, 7}) {
    const Seed scope(seed);
    std::vector<WarpResults> results(64);
    CHECK(RUBRICATE_LAUNCH(warp_functions, 1, 64, 0, &test_stream, results.data()) == RUBRICATE_OK);
    for (int i = 0; i < 64; ++i) {
      const int lane = i % 32;
      const WarpResults& mine = results[static_cast<size_t>(i)];
      CHECK(mine.from_5 == 50);
      CHECK(mine.from_2_of_8 == 10 * (lane / 8 * 8 + 2));
      CHECK(mine.xor_3 == 10 * (lane ^ 3));
      CHECK(mine.up_1 == 10 * (lane == 0 ? 0 : lane - 1));
      CHECK(mine.down_4_of_8 == 10 * (lane % 8 < 4 ? lane + 4 : lane));
      CHECK(mine.odd == 0xaaaaaaaau);
      CHECK(mine.sum == 496.0f);
      CHECK(mine.most == 29.0f);
      CHECK(mine.quarter == static_cast<float>(8 * (lane / 8 * 8) + 28));
    }
  }
}

TEST_CASE("a block's sum has the same bits for 20 seeds, and in every thread") {
  std::vector<float> x(128), first;
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(philox_uniform(1, 0, i));
  double exact = 0.0;
  for (const float value : x) exact += value;
  for (int seed = 0; seed <= 20; ++seed) {
    const Seed scope(seed);
    std::vector<float> y(128);
    CHECK(RUBRICATE_LAUNCH(sum_of_block, 1, 128, 0, &test_stream, x.data(), y.data()) == RUBRICATE_OK);
    if (first.empty()) first = y;
    CHECK(y == first);
    CHECK(y == std::vector<float>(128, y[0]));
    CHECK(y[0] - *std::max_element(x.begin(), x.end()) == doctest::Approx(exact).epsilon(1e-6));
  }
}

TEST_CASE("mma multiplies matrices, on tensor cores and through shuffles") {
  std::vector<uint16_t> a(256), b(128);
  const auto draw = [](uint64_t stream, size_t i) {
    return static_cast<float>(2.0 * philox_uniform(5, stream, i) - 1.0);
  };
  for (size_t i = 0; i < a.size(); ++i) a[i] = from_float<bf16>(draw(0, i)).bits;
  for (size_t i = 0; i < b.size(); ++i) b[i] = from_float<bf16>(draw(1, i)).bits;
  std::vector<float> d(128, 0.5f), by_shuffles(128, 0.5f);
  CHECK(RUBRICATE_LAUNCH(multiply_bf16<false>, 1, 32, 0, &test_stream, a.data(), b.data(), d.data()) == RUBRICATE_OK);
  CHECK(RUBRICATE_LAUNCH(multiply_bf16<true>, 1, 32, 0, &test_stream, a.data(), b.data(), by_shuffles.data()) ==
        RUBRICATE_OK);
  for (size_t row = 0; row < 16; ++row)
    for (size_t column = 0; column < 8; ++column) {
      double exact = 0.5;
      for (size_t k = 0; k < 16; ++k)
        exact += static_cast<double>(to_float(bf16{a[row * 16 + k]})) *
                 static_cast<double>(to_float(bf16{b[k * 8 + column]}));
      CHECK(static_cast<double>(d[row * 8 + column]) == doctest::Approx(exact).epsilon(1e-5));
    }
  CHECK(d == by_shuffles);
}

TEST_CASE("ldmatrix distributes rows, or columns, of four matrices") {
  std::vector<uint16_t> storage(32 * 8 + 8);
  uint16_t* const x = reinterpret_cast<uint16_t*>((reinterpret_cast<uintptr_t>(storage.data()) + 15) / 16 * 16);
  for (int i = 0; i < 256; ++i) x[i] = static_cast<uint16_t>(i);
  std::vector<uint32_t> plain(128), transposed(128);
  CHECK(RUBRICATE_LAUNCH(matrices, 1, 32, 0, &test_stream, x, plain.data(), transposed.data()) == RUBRICATE_OK);
  for (uint32_t lane = 0; lane < 32; ++lane)
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t row = 64 * i + 8 * (lane / 4) + 2 * (lane % 4), column = 64 * i + 16 * (lane % 4) + lane / 4;
      CHECK(plain[4 * lane + i] == (row | (row + 1) << 16));
      CHECK(transposed[4 * lane + i] == (column | (column + 8) << 16));
    }
}

TEST_CASE("a launch that every device would refuse is an error") {
  std::vector<int64_t> numbers(1);
  const auto launch = [&](dim3 grid, dim3 block, int64_t shared) {
    return RUBRICATE_LAUNCH(number_threads, grid, block, shared, &test_stream, numbers.data());
  };
  CHECK(launch(0, 32, 0) == RUBRICATE_INVALID);
  CHECK(launch(1, 1025, 0) == RUBRICATE_INVALID);
  CHECK(launch(dim3(1, 65536), 1, 0) == RUBRICATE_INVALID);
  CHECK(launch(1, 32, (163 << 10) + 1) == RUBRICATE_INVALID);
  CHECK(std::string(message()).find("number_threads") != std::string::npos);
  CHECK(numbers[0] == 0);
}
