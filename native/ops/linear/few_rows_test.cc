// The matmul of few rows by a weight: the bits are those of many rows, wherever the weight lies in memory.
#include <cstring>
#include <memory>
#include <vector>

#include "device/cpu/cpu_path.h"
#include "doctest/doctest.h"
#include "tests/matmul_problem.h"

using namespace rubricate;
using namespace rubricate::testing;

// Lines of such rows share sets of the L1 cache, so the kernel visits them in another order.
TEST_CASE("matmul: few rows have the same bits by a weight whose rows are a multiple of 4 KiB apart") {
  for (const CpuPath path : tested_cpu_paths()) {
    const PathScope on(path);
    for (const ProductDtypes& kind : kProductDtypes)
      for (const int64_t k : {20, 100, 333, 1000}) {
        const MatmulProblem problem({17, 333, k, false, true, false, false, kind.a, kind.b, kind.c}, 0,
                                    4096 / dtype_size(kind.b) - k);
        CAPTURE(cpu_path_name(path));
        CAPTURE(name_of(problem.given));
        const auto many = problem.run();
        for (const int64_t rows : {1, 3, 6, 11}) {
          const auto few = problem.run(0, rows);
          bool same = true;
          for (int64_t i = 0; i < rows; ++i)
            for (int64_t j = 0; j < 333; ++j)
              same = same && value_at(few.data(), kind.c, i * problem.c_stride + j) ==
                                 value_at(many.data(), kind.c, i * problem.c_stride + j);
          CHECK_MESSAGE(same, rows << " rows");
        }
      }
  }
}

// A file's tensors begin at multiples of 8 bytes; kernels that read whole lines begin at a line's start.
TEST_CASE("matmul: few rows have the same bits by a weight at any address") {
  constexpr int64_t n = 90, stride = 256;  // elements between rows: whole lines
  for (const CpuPath path : tested_cpu_paths()) {
    const PathScope on(path);
    for (const ProductDtypes& kind : kProductDtypes)
      for (const int64_t k : {3, 29, 64, 131, 203}) {
        const MatmulProblem problem({16, n, k, false, true, false, false, kind.a, kind.b, kind.c});
        const auto size = static_cast<size_t>(dtype_size(kind.b));
        const auto run = [&](int64_t rows, size_t offset) {
          std::vector<unsigned char> memory(n * stride * size + 192, 0xff);  // NaN where no weight is
          void* aligned = memory.data();
          size_t room = memory.size();
          REQUIRE(std::align(64, n * stride * size + 64, aligned, room) != nullptr);
          unsigned char* const w = static_cast<unsigned char*>(aligned) + offset;
          for (int64_t j = 0; j < n; ++j)
            std::memcpy(w + static_cast<size_t>(j * stride) * size,
                        static_cast<const char*>(problem.b.data()) + static_cast<size_t>(j * problem.b.stride) * size,
                        static_cast<size_t>(k) * size);
          std::vector<unsigned char> c(static_cast<size_t>(rows * n * dtype_size(kind.c)));
          MatmulArgs args;
          args.m = rows, args.n = n, args.k = k;
          args.a = problem.a.data(), args.a_dtype = kind.a, args.a_stride = problem.a.stride;
          args.b = w, args.b_dtype = kind.b, args.b_stride = stride, args.b_transposed = true;
          args.c = c.data(), args.c_dtype = kind.c, args.c_stride = n;
          matmul_cpu(args);
          return c;
        };
        CAPTURE(cpu_path_name(path));
        CAPTURE(name_of(problem.given));
        for (const int64_t rows : {1, 4, 5, 8, 9, 16}) {
          const auto expected = run(rows, 0);
          const auto all = problem.run(0, rows);
          for (int64_t i = 0; i < rows; ++i)
            for (int64_t j = 0; j < n; ++j)
              REQUIRE(value_at(expected.data(), kind.c, i * n + j) ==
                      value_at(all.data(), kind.c, i * problem.c_stride + j));
          for (const size_t offset : {1, 2, 4, 8, 36, 60})
            CHECK_MESSAGE(run(rows, offset) == expected, rows << " rows, " << offset << " bytes");
        }
      }
  }
}
