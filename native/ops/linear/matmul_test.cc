// The matmul on every path and device: its values, and that its bits depend on no batch, thread or range.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/integers.h"
#include "device/cpu/cpu_path.h"
#include "device/cpu/thread_pool.h"
#include "doctest/doctest.h"
#include "tests/matmul_problem.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

double rounded(double x, DType dtype) {
  const float y = static_cast<float>(x);
  return static_cast<double>(dtype == DType::bf16 ? to_float(from_float<bf16>(y)) : y);
}

// The rule for lower precision: at most twice the error of the plain fp32 loop, plus the one rounding of the result.
void check_values(const MatmulProblem& problem, const std::shared_ptr<Stream>& stream = nullptr) {
  const MatmulCase& p = problem.given;
  const auto c = problem.run(0, -1, stream);
  double worst = 0.0, naive_worst = 0.0, slack = 0.0;
  for (int64_t i = 0; i < p.m; ++i)
    for (int64_t j = 0; j < p.n; ++j) {
      const float start = p.accumulate ? problem.c0[static_cast<size_t>(i * problem.c_stride + j)] : 0.0f;
      const float bias = p.bias ? problem.bias[static_cast<size_t>(j)] : 0.0f;
      double exact = static_cast<double>(start);
      float naive = start;
      for (int64_t k = 0; k < p.k; ++k) {
        exact += problem.left(i, k) * problem.right(j, k);
        naive += static_cast<float>(problem.left(i, k)) * static_cast<float>(problem.right(j, k));
      }
      exact += static_cast<double>(bias);
      const double got = value_at(c.data(), p.c, i * problem.c_stride + j);
      REQUIRE(std::isfinite(got));
      worst = std::max(worst, std::abs(got - exact));
      naive_worst = std::max(naive_worst, std::abs(rounded(static_cast<double>(naive + bias), p.c) - exact));
      slack = std::max(slack, std::abs(exact) * (p.c == DType::bf16 ? 0x1p-9 : 0x1p-24));
    }
  CHECK(worst <= 2.0 * naive_worst + slack);
  const size_t bytes = static_cast<size_t>(dtype_size(p.c));
  for (int64_t i = 0; i < p.m && !p.accumulate; ++i)  // the gaps between rows of C are not written
    for (size_t at = 0; at < 2 * bytes; ++at)
      REQUIRE(c[static_cast<size_t>(i * problem.c_stride + p.n) * bytes + at] == 0xa5);
}

const std::vector<int64_t> kSizes = {1, 2, 3, 5, 7, 13, 16, 17, 33, 64, 100, 123, 257};

// Each odd size occurs in each position, and some depths span several slices of k.
std::vector<MatmulCase> shapes() {
  std::vector<MatmulCase> cases;
  const size_t count = kSizes.size();
  for (size_t i = 0; i < count; ++i) {
    cases.push_back({kSizes[i], kSizes[(i * 5 + 3) % count], kSizes[(i * 7 + 1) % count]});
    cases.push_back({kSizes[(i * 6 + 2) % count], kSizes[i], kSizes[(i * 4 + 5) % count]});
  }
  for (const int64_t k : {511, 513, 1031}) cases.push_back({37, 19, k});
  cases.push_back({5, 7, 0});
  return cases;
}

}  // namespace

TEST_CASE("matmul: values in every layout, dtype and path") {
  for (const CpuPath path : tested_cpu_paths()) {
    const PathScope on(path);
    for (const ProductDtypes& kind : kProductDtypes)
      for (MatmulCase p : shapes())
        for (int layout = 0; layout < 4; ++layout) {
          p.a = kind.a, p.b = kind.b, p.c = kind.c;
          p.a_transposed = layout / 2 == 1, p.b_transposed = layout % 2 == 0;
          p.bias = (p.m + p.n + layout) % 2 == 1;
          p.accumulate = kind.c == DType::f32 && (p.m + p.k) % 3 == 0;
          CAPTURE(cpu_path_name(path));
          CAPTURE(name_of(p));
          check_values(MatmulProblem(p));
        }
  }
}

TEST_CASE("matmul: a row has the same bits alone, at any position among others, and on any number of threads") {
  for (const CpuPath path : tested_cpu_paths()) {
    const PathScope on(path);
    for (const ProductDtypes& kind : kProductDtypes)
      for (const bool b_transposed : {true, false}) {
        const MatmulProblem problem({37, 300, 1100, false, b_transposed, false, true, kind.a, kind.b, kind.c});
        CAPTURE(cpu_path_name(path));
        CAPTURE(name_of(problem.given));
        const auto all = [&] {
          const PoolSize one(1);
          return problem.run();
        }();
        for (const int threads : {1, 2, 3, 7}) {
          if (few_cases() && threads != 3) continue;
          const PoolSize size(threads);
          CHECK(problem.run() == all);
          for (const int64_t rows : {1, 2, 5, 9, 16, 17})
            for (int64_t first = 0; first + rows <= 37; first += 9) {
              const auto some = problem.run(first, rows);
              const size_t row = static_cast<size_t>(problem.c_stride * dtype_size(kind.c));
              bool same = true;  // except the gaps between rows
              for (size_t i = 0; i < static_cast<size_t>(rows); ++i)
                same = same && std::memcmp(some.data() + i * row, all.data() + (static_cast<size_t>(first) + i) * row,
                                           static_cast<size_t>(300 * dtype_size(kind.c))) == 0;
              CHECK_MESSAGE(same, rows << " rows from " << first << " on " << threads << " threads");
            }
        }
      }
  }
}

// Several blocks of rows, slices of k and columns on each instruction set, and every way to split them into jobs.
TEST_CASE("matmul: a large one has the same bits on any number of threads, and those of its rows alone") {
  for (const CpuPath path : tested_cpu_paths()) {
    const PathScope on(path);
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const auto& [m, n] : {std::pair<int64_t, int64_t>{400, 90}, {130, 400}}) {
        const MatmulProblem problem({m, n, 2100, false, true, false, false, dtype, dtype, dtype});
        CAPTURE(cpu_path_name(path));
        CAPTURE(name_of(problem.given));
        const auto all = [&] {
          const PoolSize one(1);
          return problem.run();
        }();
        for (const int threads : {2, 3, 6, 8}) {
          const PoolSize size(threads);
          CHECK_MESSAGE(problem.run() == all, threads << " threads");
        }
        const auto some = problem.run(m - 20, 20);
        const size_t row = static_cast<size_t>(problem.c_stride * dtype_size(dtype));
        for (size_t i = 0; i < 20; ++i)
          CHECK(std::memcmp(some.data() + i * row, all.data() + (static_cast<size_t>(m) - 20 + i) * row,
                            static_cast<size_t>(n * dtype_size(dtype))) == 0);
      }
  }
}

TEST_CASE("matmul: ranges of columns give the bits of the whole, also with other matmuls between them") {
  for (const CpuPath path : tested_cpu_paths()) {
    const PathScope on(path);
    const MatmulProblem other({50, 20, 30});
    for (const ProductDtypes& kind : kProductDtypes)
      for (const int64_t m : {5, 37})
        for (int layout = 0; layout < 4; ++layout) {
          const bool accumulate = kind.c == DType::f32 && layout == 1;
          MatmulProblem problem(
              {m, 301, 517, layout / 2 == 1, layout % 2 == 0, accumulate, true, kind.a, kind.b, kind.c});
          CAPTURE(cpu_path_name(path));
          CAPTURE(name_of(problem.given));
          const auto whole = problem.run();
          int ranges = 0;
          problem.between = [&] {
            ++ranges;
            other.run();  // uses the thread's packing buffers
          };
          for (const int threads : {1, 3})
            for (const int64_t columns : {1, 7, 100, 300, 301, 1000}) {
              if (few_cases() && (threads == 1 || columns == 1)) continue;
              const PoolSize size(threads);
              problem.columns = columns;
              ranges = 0;
              CHECK_MESSAGE(problem.run() == whole, columns << " columns on " << threads << " threads");
              CHECK(ranges == ceil_div(301, columns));
            }
        }
  }
}

TEST_CASE("matmul: on the tape in ranges, with a yield before each, only while shorter jobs are under way") {
  const PoolSize one(1);
  MatmulArgs args;
  args.m = 1024, args.n = 800, args.k = 2048;
  CHECK(range_columns(args) == 192);
  args.m = 16;
  CHECK(range_columns(args) > 800);
  for (const bool wanted : {false, true}) {
    Tape tape(test_arena(), Tape::Mode::inference);
    int yields = 0;
    tape.set_yield([&] { ++yields; });
    tape.set_wanted([&] { return wanted; });
    std::vector<float> a(16 * 8, 1.0f), b(24 * 8, 1.0f), c(16 * 24, 0.0f);
    MatmulArgs small;
    small.m = 16, small.n = 24, small.k = 8;
    small.a = a.data(), small.b = b.data(), small.c = c.data();
    small.a_stride = small.b_stride = 8, small.c_stride = 24, small.b_transposed = true;
    matmul(tape, small);
    CHECK(yields == (wanted ? 1 : 0));
    CHECK(c == std::vector<float>(16 * 24, 8.0f));
  }
}

TEST_CASE("matmul: accumulating over two parts of k gives the bits of the whole") {
  for (const CpuPath path : tested_cpu_paths()) {
    const PathScope on(path);
    const Matrix a(1, 600, 31, DType::f32), b(2, 600, 45, DType::f32);
    const auto add = [&](std::vector<float>& c, int64_t from, int64_t to) {
      MatmulArgs args;
      args.m = 31, args.n = 45, args.k = to - from;
      args.a = static_cast<const char*>(a.data()) + from * a.stride * 4;
      args.b = static_cast<const char*>(b.data()) + from * b.stride * 4;
      args.a_stride = a.stride, args.b_stride = b.stride, args.a_transposed = true;
      args.c = c.data(), args.c_stride = 45, args.accumulate = true;
      matmul_cpu(args);
    };
    std::vector<float> whole(31 * 45, 0.5f), parts = whole;
    add(whole, 0, 600);
    add(parts, 0, 129);
    add(parts, 129, 600);
    CHECK(whole == parts);
  }
}

TEST_CASE("matmul on a device: values in every layout and dtype, aligned or not") {
  const std::vector<std::array<int64_t, 3>> sizes = {{1, 1, 1},     {5, 7, 0},     {3, 17, 33},
                                                     {16, 64, 32},  {17, 33, 100}, {64, 16, 64},
                                                     {130, 70, 40}, {7, 100, 123}, {65, 129, 57}};
  for (const auto& stream : devices())
    for (const ProductDtypes& kind : kProductDtypes)
      for (const auto& [m, n, k] : sizes)
        for (int layout = 0; stream && layout < 4; ++layout) {
          MatmulCase p{m, n, k, layout / 2 == 1, layout % 2 == 0};
          p.a = kind.a, p.b = kind.b, p.c = kind.c;
          p.bias = (m + layout) % 2 == 1;
          p.accumulate = kind.c == DType::f32 && (m + k) % 3 == 0;
          CAPTURE(name_of(p));
          const int64_t gap = (m + layout) % 3 == 0 ? 1 : 0;
          check_values(MatmulProblem(p, gap, 8 * gap), stream);
        }
}

TEST_CASE("matmul on a device: operands that allow copies of 16 bytes give the bits of those that do not") {
  const auto& stream = test_stream();
  if (!stream) return;
  // Rows beyond the last tile, columns beyond it in whole chunks and not, and a last step of k that is not whole.
  const std::vector<std::array<int64_t, 3>> sizes = {{200, 136, 104}, {16, 96, 72},   {5, 40, 416},
                                                     {130, 264, 96},  {257, 129, 64}, {64, 64, 32}};
  for (const auto& [m, n, k] : sizes)
    for (const DType b : {DType::bf16, DType::f16})
      for (int layout = 0; layout < (b == DType::bf16 ? 3 : 2); ++layout) {
        const MatmulCase p{m, n, k, layout == 2, layout == 0, false, true, DType::bf16, b, DType::f32};
        CAPTURE(name_of(p));
        CHECK(MatmulProblem(p, 0, 0).run(0, -1, stream) == MatmulProblem(p, 3, 3).run(0, -1, stream));
      }
}

TEST_CASE("matmul on a device: a row has the same bits with every tile, and parts of k those of the whole") {
  for (const auto& stream : devices()) {
    if (!stream) continue;
    for (const ProductDtypes& kind : kProductDtypes)
      for (const bool b_transposed : {true, false}) {
        const MatmulProblem problem({300, 330, 70, false, b_transposed, false, true, kind.a, kind.b, kind.c}, 2, 0);
        CAPTURE(name_of(problem.given));
        const auto all = problem.run(0, -1, stream);
        const size_t row = static_cast<size_t>(problem.c_stride * dtype_size(kind.c));
        for (const int64_t rows : {1, 5, 17, 40})
          for (const int64_t first : {0, 131}) {
            const auto some = problem.run(first, rows, stream);
            bool same = true;  // except the gaps between rows
            for (size_t i = 0; i < static_cast<size_t>(rows); ++i)
              same = same && std::memcmp(some.data() + i * row, all.data() + (static_cast<size_t>(first) + i) * row,
                                         static_cast<size_t>(330 * dtype_size(kind.c))) == 0;
            CHECK_MESSAGE(same, rows << " rows from " << first);
          }
      }
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const auto arena = std::make_shared<Arena>(stream), here = std::make_shared<Arena>();
      const Tensor a = random_tensor(here, {600, 31}, dtype, 1).copied_to(arena);
      const Tensor b = random_tensor(here, {600, 45}, dtype, 2).copied_to(arena);
      const auto add = [&](const Tensor& c, int64_t from, int64_t to) {
        MatmulArgs args;
        args.m = 31, args.n = 45, args.k = to - from, args.a_dtype = args.b_dtype = dtype;
        args.a = static_cast<const char*>(a.raw()) + from * 31 * dtype_size(dtype);
        args.b = static_cast<const char*>(b.raw()) + from * 45 * dtype_size(dtype);
        args.a_stride = 31, args.b_stride = 45, args.a_transposed = true;
        args.c = c.raw(), args.c_stride = 45, args.accumulate = true;
        matmul(Tape(arena, Tape::Mode::inference), args);
      };
      const Tensor whole = Tensor::zeros(arena, {31, 45}, DType::f32),
                   parts = Tensor::zeros(arena, {31, 45}, DType::f32);
      const int64_t cut = dtype == DType::f32 ? 129 : 128;
      add(whole, 0, 600);
      add(parts, 0, cut);
      add(parts, cut, 600);
      CHECK(same_bits(whole, parts));
    }
  }
}

TEST_CASE("matmul: a large one runs on several threads") {
  const PoolSize size(2);
  for (const int64_t m : {1, 8, 512}) {
    const MatmulProblem problem({m, 1024, 1024});
    const int64_t before = ThreadPool::instance().split_regions();
    problem.run();
    CHECK(ThreadPool::instance().split_regions() > before);
  }
}
