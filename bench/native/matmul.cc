// Workbench of the packed matmul: GFLOP/s and the share of peak, for the three layouts; then decoding, in GB/s of
// weight bytes, compared with a plain read. Times include packing. A few elements of every result are first checked in
// double. If CMake found OpenBLAS and oneDNN, they compute the same, alternating with ours.
//
//   bench_matmul [repetitions] [large]     RUBRICATE_CPU_PATH chooses our instruction set
//   Prints best and median of the repetitions; `large` adds the largest shape.
//
// Peak is a register-only loop of multiply-adds as long as a matmul, on the same threads, before and after each one. A
// share compares one repetition with the two loops around it, so that a temporary slowdown of a core affects both.
// Prints the best and the median rate, and the median share.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "device/cpu/thread_pool.h"
#include "native/peers.h"
#include "ops/linear/linear.h"

#define RUBRICATE_KERNELS_USE_BF16
#define RUBRICATE_KERNELS "device/cpu/peak_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {
namespace {

double peak_loop(int64_t steps, bool pairs, float* out) { RUBRICATE_DISPATCH(register_peak, steps, pairs, out); }
float read_loop(const float* p, int64_t count) { RUBRICATE_DISPATCH(read_memory, p, count); }

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Seconds that `operations` take at peak, measured by a loop of about as many.
double peak_seconds(int threads, bool pairs, double operations) {
  const auto loop = [&](int64_t steps) {
    std::vector<double> done(static_cast<size_t>(threads));
    ThreadPool::instance().parallel_for(threads, [&](int64_t t) {
      float out[32] = {};
      done[static_cast<size_t>(t)] = peak_loop(steps, pairs, out);
    });
    double sum = 0.0;
    for (const double x : done) sum += x;
    return sum;
  };
  const double of_a_step = loop(1000) / 1000.0 / threads;
  const auto steps = static_cast<int64_t>(operations / of_a_step / threads);
  const double start = now();
  const double done = loop(steps);
  return (now() - start) * operations / done;
}

struct Stats {
  double best = 0.0, median = 0.0;
};
Stats stats_of(std::vector<double> rates) {
  std::sort(rates.begin(), rates.end());
  return {rates.back(), rates[rates.size() / 2]};
}

struct Operand {
  std::vector<float> wide;
  std::vector<bf16> narrow;
  DType dtype;

  Operand(int64_t count, DType dtype, uint32_t seed) : dtype(dtype) {
    uint32_t state = seed;
    for (int64_t i = 0; i < count; ++i) {
      state = state * 1664525u + 1013904223u;
      const float x = static_cast<float>(state >> 8) * 0x1p-24f - 0.5f;
      if (dtype == DType::f32)
        wide.push_back(x);
      else
        narrow.push_back(from_float<bf16>(x));
    }
  }
  const void* data() const { return dtype == DType::f32 ? static_cast<const void*>(wide.data()) : narrow.data(); }
  double at(int64_t i) const {
    const auto index = static_cast<size_t>(i);
    return static_cast<double>(dtype == DType::f32 ? wide[index] : to_float(narrow[index]));
  }
};

struct Problem {
  int64_t m, n, k;
  int layout;  // 0: NT (forward), 1: NN (gradient of x), 2: TN (gradient of W)
  DType dtype;
};
const char* const kLayouts[] = {"NT", "NN", "TN"};

struct Prepared {
  Problem p;
  Operand a, b;
  std::vector<float> c;
  MatmulArgs args;

  explicit Prepared(const Problem& p)
      : p(p), a(p.m * p.k, p.dtype, 12345), b(p.n * p.k, p.dtype, 67890), c(static_cast<size_t>(p.m * p.n)) {
    args.m = p.m, args.n = p.n, args.k = p.k;
    args.a = a.data(), args.a_dtype = p.dtype;
    args.a_transposed = p.layout == 2, args.a_stride = args.a_transposed ? p.m : p.k;
    args.b = b.data(), args.b_dtype = p.dtype;
    args.b_transposed = p.layout == 0, args.b_stride = args.b_transposed ? p.k : p.n;
    args.c = c.data(), args.c_stride = p.n;
    args.c_dtype = p.layout == 2 ? DType::f32 : p.dtype;
  }
  void check() const {
    for (int64_t s = 0; s < 64; ++s) {
      const int64_t i = s * 7919 % p.m, j = s * 104729 % p.n;
      double exact = 0.0, size = 1.0;
      for (int64_t k = 0; k < p.k; ++k) {
        const double x =
            a.at(args.a_transposed ? k * p.m + i : i * p.k + k) * b.at(args.b_transposed ? j * p.k + k : k * p.n + j);
        exact += x, size += std::abs(x);
      }
      const void* at = static_cast<const char*>(args.c) + (i * p.n + j) * dtype_size(args.c_dtype);
      bf16 narrow;
      float wide;
      std::memcpy(&narrow, at, 2);
      std::memcpy(&wide, at, args.c_dtype == DType::f32 ? 4 : 2);
      const double got = static_cast<double>(args.c_dtype == DType::f32 ? wide : to_float(narrow));
      require(std::abs(got - exact) <= 1e-5 * size + (args.c_dtype == DType::f32 ? 0.0 : 4e-3 * std::abs(exact)),
              "ERR_INTERNAL", "A wrong result: ", got, " for ", exact);
    }
  }
};

void training(const Problem& p, int threads, int repetitions) {
  const Prepared run(p);
  std::vector<Peer> sides = peers_of(run.args, threads);
  sides.insert(sides.begin(), {"ours", [&] { matmul_cpu(run.args); }});
  for (const Peer& side : sides) {
    side.run();
    run.check();
  }
  std::vector<std::vector<double>> rates(sides.size()), shares(sides.size());
  const double operations = 2.0 * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
  const int most = std::max(3, std::min(repetitions, static_cast<int>(2e11 / operations)));
  for (int r = 0; r < most; ++r) {
    double before = peak_seconds(threads, p.dtype == DType::bf16, operations);
    for (size_t i = 0; i < sides.size(); ++i) {
      const double start = now();
      sides[i].run();
      const double seconds = now() - start;
      const double after = peak_seconds(threads, p.dtype == DType::bf16, operations);
      rates[i].push_back(operations / seconds / 1e9);
      shares[i].push_back(0.5 * (before + after) / seconds);
      before = after;
    }
  }
  for (size_t i = 0; i < sides.size(); ++i) {
    const Stats rate = stats_of(rates[i]);
    std::printf(
        "%-4s %s %d thread%s %4ld x %5ld x %4ld  %-8s best %6.1f GFLOP/s  median %6.1f GFLOP/s, %3.0f %% of peak\n",
        p.dtype == DType::f32 ? "f32" : "bf16", kLayouts[p.layout], threads, threads == 1 ? " " : "s",
        static_cast<long>(p.m), static_cast<long>(p.n), static_cast<long>(p.k), sides[i].name.c_str(), rate.best,
        rate.median, 100.0 * stats_of(shares[i]).median);
  }
  std::fflush(stdout);
}

void decoding(DType dtype, int threads, int repetitions) {
  for (const int64_t m : {1, 8, 16}) {
    const Prepared run({m, 11008, 4096, 0, dtype});
    matmul_cpu(run.args);
    run.check();
    std::vector<double> rates, reads;
    const double bytes = 11008.0 * 4096.0 * static_cast<double>(dtype_size(dtype));
    std::vector<float> sums(64);
    for (int r = 0; r < repetitions; ++r) {
      double start = now();
      const auto* weights = static_cast<const float*>(run.args.b);
      const int64_t part = static_cast<int64_t>(bytes) / 4 / 64;
      ThreadPool::instance().parallel_for(
          64, [&](int64_t i) { sums[static_cast<size_t>(i)] = read_loop(weights + i * part, part); });
      reads.push_back(bytes / (now() - start) / 1e9);
      start = now();
      matmul_cpu(run.args);
      rates.push_back(bytes / (now() - start) / 1e9);
    }
    const Stats rate = stats_of(rates), read = stats_of(reads);
    std::printf(
        "%-4s decode %d thread%s %2ld rows  best %5.1f GB/s %3.0f %%  median %5.1f GB/s %3.0f %% of a read, "
        "%5.1f GFLOP/s\n",
        dtype == DType::f32 ? "f32" : "bf16", threads, threads == 1 ? " " : "s", static_cast<long>(m), rate.best,
        100.0 * rate.best / read.best, rate.median, 100.0 * rate.median / read.median,
        2.0 * static_cast<double>(m) * rate.median / static_cast<double>(dtype_size(dtype)));
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace rubricate

int main(int argc, char** argv) {
  using namespace rubricate;
  // The other libraries' idle threads spin for tens of milliseconds on cores that the next side needs. They read the
  // variables that prevent it when they are loaded, so this program sets them and restarts itself.
  if (std::getenv("OPENBLAS_THREAD_TIMEOUT") == nullptr) {
    setenv("OPENBLAS_THREAD_TIMEOUT", "4", 1);  // 2^4 cycles
    setenv("OMP_WAIT_POLICY", "passive", 1);
    execv("/proc/self/exe", argv);
  }
  const int repetitions = argc > 1 ? std::max(3, std::atoi(argv[1])) : 30;
  const bool large = argc > 2 && std::strcmp(argv[2], "large") == 0;
  std::printf("%s\n", cpu_path_name(cpu_path()));
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const int threads : {1, 2}) {
      ThreadPool::instance().resize(threads);
      for (int layout = 0; layout < 3; ++layout) {
        training({512, 768, 768, layout, dtype}, threads, repetitions);
        training({512, 2048, 768, layout, dtype}, threads, repetitions);
        training({512, 768, 2048, layout, dtype}, threads, repetitions);
        if (large) training({512, 11008, 4096, layout, dtype}, threads, repetitions);
      }
      decoding(dtype, threads, repetitions);
    }
}
