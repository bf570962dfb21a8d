// Workbench of attention: GFLOP/s, and the share of a register-only loop of multiply-adds that ran on the same threads
// between the measurements. Counts only useful operations: 4 * head_dim per (query, key) pair that the causal mask
// allows in forward, 10 * head_dim in backward. Then decoding over pages: time of one step and GB/s of cached keys and
// values. (attention_test.cc checks the values.)
//
//   bench_attention [repetitions]     RUBRICATE_CPU_PATH picks the instruction set
//   Prints best and median of the repetitions.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "device/cpu/thread_pool.h"
#include "ops/attention/attention.h"

#define RUBRICATE_KERNELS_USE_BF16
#define RUBRICATE_KERNELS "device/cpu/peak_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {
namespace {

double peak_loop(int64_t steps, float* out) { RUBRICATE_DISPATCH(register_peak, steps, false, out); }

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double peak_gflops(int threads) {
  std::vector<double> operations(static_cast<size_t>(threads));
  const double start = now();
  ThreadPool::instance().parallel_for(threads, [&](int64_t t) {
    float out[32] = {};
    operations[static_cast<size_t>(t)] = peak_loop(100000, out);
  });
  double sum = 0.0;
  for (const double x : operations) sum += x;
  return sum / (now() - start) / 1e9;
}

Tensor noise(const std::shared_ptr<Arena>& arena, int64_t rows, int64_t cols, DType dtype, uint32_t seed) {
  Tensor x = Tensor::empty(arena, {rows, cols}, dtype);
  uint32_t state = seed;
  for (int64_t i = 0; i < x.count(); ++i) {
    state = state * 1664525u + 1013904223u;
    const float value = static_cast<float>(state >> 8) * 0x1p-23f - 1.0f;
    if (dtype == DType::bf16)
      x.data<bf16>()[i] = from_float<bf16>(value);
    else
      x.data<float>()[i] = value;
  }
  return x;
}

Var leaf(const Tensor& value) {
  auto slot = std::make_shared<GradSlot>();
  slot->dtype = value.dtype();
  slot->shape = value.shape();
  return {value, std::move(slot)};
}

struct Stats {
  double best, median;
};
Stats stats_of(std::vector<double> rates) {
  std::sort(rates.begin(), rates.end());
  return {rates.back(), rates[rates.size() / 2]};
}

struct Problem {
  int64_t sequences, length, heads, kv_heads, head_dim;
  DType dtype;
};

void training(const Problem& p, int threads, int repetitions) {
  ThreadPool::instance().resize(threads);
  const auto arena = std::make_shared<Arena>();
  const int64_t rows = p.sequences * p.length;
  const AttentionShape shape{p.heads, p.kv_heads, p.head_dim, 1.0f / std::sqrt(static_cast<float>(p.head_dim))};
  const Tensor q = noise(arena, rows, p.heads * p.head_dim, p.dtype, 1),
               dout = noise(arena, rows, q.cols(), p.dtype, 2);
  const Tensor k = noise(arena, rows, p.kv_heads * p.head_dim, p.dtype, 3),
               v = noise(arena, rows, k.cols(), p.dtype, 4);
  std::vector<int32_t> starts;
  for (int64_t s = 0; s <= p.sequences; ++s) starts.push_back(static_cast<int32_t>(s * p.length));
  const double pairs = 0.5 * static_cast<double>(p.sequences * p.heads * p.length * (p.length + 1));
  const double forward_work = 4e-9 * pairs * static_cast<double>(p.head_dim);
  std::vector<double> forward, backward, both, peaks;
  for (int i = 0; i < repetitions; ++i) {
    peaks.push_back(peak_gflops(threads));
    Tape tape(arena, Tape::Mode::training);
    const Var lq = leaf(q), lk = leaf(k), lv = leaf(v);
    const double start = now();
    const Var o = attention(tape, lq, lk, lv, shape, p.sequences, starts.data());
    const double middle = now();
    tape.backward(o, dout);
    const double end = now();
    forward.push_back(forward_work / (middle - start));
    backward.push_back(2.5 * forward_work / (end - middle));
    both.push_back(3.5 * forward_work / (end - start));
  }
  const Stats f = stats_of(forward), b = stats_of(backward), a = stats_of(both), peak = stats_of(peaks);
  std::printf(
      "%3lld x %4lld  %2lld/%2lld x %3lld %-8s %d  %7.1f %7.1f %3.0f%%  %7.1f %7.1f %3.0f%%  %7.1f %7.1f %3.0f%%\n",
      static_cast<long long>(p.sequences), static_cast<long long>(p.length), static_cast<long long>(p.heads),
      static_cast<long long>(p.kv_heads), static_cast<long long>(p.head_dim), dtype_name(p.dtype), threads, f.best,
      f.median, 100 * f.best / peak.best, b.best, b.median, 100 * b.best / peak.best, a.best, a.median,
      100 * a.best / peak.best);
}

void decoding(const Problem& p, int threads, int repetitions) {
  ThreadPool::instance().resize(threads);
  const auto arena = std::make_shared<Arena>();
  const AttentionShape shape{p.heads, p.kv_heads, p.head_dim, 1.0f / std::sqrt(static_cast<float>(p.head_dim))};
  const int64_t blocks = (p.length + kKeyBlock - 1) / kKeyBlock, count = p.sequences * blocks;
  const Tensor memory = noise(arena, count, 2 * p.kv_heads * kKeyBlock * p.head_dim, p.dtype, 5);
  std::vector<int32_t> table, past(static_cast<size_t>(p.sequences), static_cast<int32_t>(p.length - 1)), starts{0};
  std::vector<void*> pages;
  PagedKeys cache;
  cache.dtype = p.dtype;
  cache.pages_per_sequence = blocks;
  cache.past = past.data();
  for (int64_t page = 0; page < count; ++page) {
    pages.push_back(static_cast<char*>(memory.raw()) + page * memory.cols() * dtype_size(p.dtype));
    table.push_back(static_cast<int32_t>(page));
  }
  for (int64_t s = 0; s < p.sequences; ++s) starts.push_back(static_cast<int32_t>(s + 1));
  cache.pages = pages.data();
  cache.page_count = count;
  cache.layer_bytes = memory.cols() * dtype_size(p.dtype);
  cache.page_table = table.data();
  const Tensor q = noise(arena, p.sequences, p.heads * p.head_dim, p.dtype, 6);
  const Tensor k = noise(arena, p.sequences, p.kv_heads * p.head_dim, p.dtype, 7);
  std::vector<double> rates;
  Tape tape(arena, Tape::Mode::inference);
  for (int i = 0; i < repetitions * 10; ++i) {
    const double start = now();
    store_keys(tape, k, k, shape, p.sequences, starts.data(), cache);
    attention_paged(tape, q, shape, p.sequences, starts.data(), cache);
    rates.push_back(1.0 / (now() - start));
  }
  const Stats rate = stats_of(rates);
  const double gigabytes = 1e-9 * static_cast<double>(memory.bytes());
  std::printf("%3lld x %4lld  %2lld/%2lld x %3lld %-8s %d  %9.1f us %9.1f us  %6.1f GB/s\n",
              static_cast<long long>(p.sequences), static_cast<long long>(p.length), static_cast<long long>(p.heads),
              static_cast<long long>(p.kv_heads), static_cast<long long>(p.head_dim), dtype_name(p.dtype), threads,
              1e6 / rate.best, 1e6 / rate.median, gigabytes * rate.best);
}

}  // namespace
}  // namespace rubricate

int main(int argc, char** argv) {
  using namespace rubricate;
  const int repetitions = argc > 1 ? std::max(1, std::atoi(argv[1])) : 20;
  std::printf("path %s\nGFLOP/s: best, median, share of peak\n", cpu_path_name(cpu_path()));
  std::printf("sequences  heads x dim   dtype  threads   forward             backward             both\n");
  for (const int threads : {1, 2})
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const Problem& p : {Problem{4, 256, 12, 12, 64, dtype}, Problem{1, 1024, 12, 12, 64, dtype},
                               Problem{8, 256, 6, 6, 48, dtype}, Problem{1, 1024, 16, 4, 128, dtype}})
        training(p, threads, repetitions);
  std::printf("decoding: one step, best and median; cached keys and values read\n");
  for (const int threads : {1, 2})
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const Problem& p : {Problem{1, 256, 12, 12, 64, dtype}, Problem{1, 1024, 12, 12, 64, dtype},
                               Problem{16, 512, 16, 4, 128, dtype}})
        decoding(p, threads, repetitions);
  return 0;
}
