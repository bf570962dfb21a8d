// The time of a training step by op: each op's forward and backward in a real step of a LLaMA with random weights,
// compared with the least time for its operations and bytes.
//
//   bench_step SHAPE DTYPE SEQUENCES LENGTH [repetitions]     SHAPE: 15m or 110m; DTYPE: f32 or bf16
//
// Time: the median over repetitions. GFLOP/s and GB/s: useful work over that time; operations are those of the forward
// and of the input gradients that RED needs, and for attention only the pairs that the causal mask allows. Floor: the
// greater of operations / peak and bytes / bandwidth, measured on the same threads in the same run: peak with a
// register-only loop of multiply-adds, bandwidth with a plain read. Bytes count each operand once, as if nothing were
// cached, so small shapes can be faster than the floor.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "device/cpu/thread_pool.h"
#include "native/random_model.h"
#include "train/train_step.h"

#define RUBRICATE_KERNELS_USE_BF16
#define RUBRICATE_KERNELS "device/cpu/peak_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Useful operations and minimal bytes of all calls of an op in a step.
struct Work {
  double operations = 0.0, bytes = 0.0;
};
using Key = std::pair<std::string, bool>;  // op, backward

std::map<Key, Work> work_of(const LlamaShape& s, int64_t sequences, int64_t length, DType dtype) {
  const auto size = static_cast<double>(dtype_size(dtype));
  const auto d = static_cast<double>(s.hidden), f = static_cast<double>(s.feed_forward);
  const auto layers = static_cast<double>(s.layers), v = static_cast<double>(s.vocabulary);
  const auto rows = static_cast<double>(sequences * length), supervised = static_cast<double>(sequences * (length - 1));
  const double pairs =
      static_cast<double>(sequences) * static_cast<double>(length) * static_cast<double>(length + 1) / 2;
  const double block = 4 * d * d + 3 * d * f;                  // weights of a layer
  const double moved = rows * (8 * d + 3 * d + 3 * f) * size;  // operands of its matmuls except the weights
  const double trained = layers - 1;                           // no backward below the first edit
  std::map<Key, Work> work;
  work[{"linear", false}] = {2 * rows * block * layers, (block * size + moved) * layers};
  work[{"linear", true}] = {2 * rows * block * trained, (block * size + moved) * trained};
  work[{"attention", false}] = {4 * pairs * d * layers, rows * 4 * d * size * layers};
  work[{"attention", true}] = {10 * pairs * d * trained, rows * 8 * d * size * trained};
  work[{"rope", false}] = {0, rows * 4 * d * size * layers};
  work[{"rope", true}] = {0, rows * 4 * d * size * trained};
  work[{"swiglu", false}] = {0, rows * 3 * f * size * layers};
  work[{"swiglu", true}] = {0, rows * 5 * f * size * trained};
  work[{"edit_add_norm", false}] = {0, rows * 2 * 4 * d * size * layers};
  work[{"edit_add_norm", true}] = {0, rows * d * size * (6 * layers + 5 * trained)};
  work[{"rms_norm", false}] = {0, rows * 2 * d * size};
  work[{"embedding", false}] = {0, rows * 2 * d * size};
  // forward computes the gradient too; ideally the logits stay in the cache
  work[{"head_cross_entropy", false}] = {2 * 2 * supervised * d * v, v * d * size + supervised * 2 * d * size};
  return work;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double peak_loop(int64_t steps, bool pairs, float* out) { RUBRICATE_DISPATCH(register_peak, steps, pairs, out); }
float read_loop(const float* p, int64_t count) { RUBRICATE_DISPATCH(read_memory, p, count); }

double peak_of(bool pairs) {
  const int64_t chunks = 16 * ThreadPool::instance().size();  // many, so that the time to wake a thread matters little
  std::vector<double> operations(static_cast<size_t>(chunks));
  const double start = now();
  ThreadPool::instance().parallel_for(chunks, [&](int64_t chunk) {
    float out[32] = {};
    operations[static_cast<size_t>(chunk)] = peak_loop(250000, pairs, out);
  });
  double sum = 0.0;
  for (const double x : operations) sum += x;
  return sum / (now() - start);
}

double bandwidth_of(const std::vector<float>& memory) {
  std::vector<float> sums(64);
  const int64_t part = static_cast<int64_t>(memory.size()) / 64;
  const double start = now();
  ThreadPool::instance().parallel_for(
      64, [&](int64_t i) { sums[static_cast<size_t>(i)] = read_loop(memory.data() + i * part, part); });
  return static_cast<double>(memory.size()) * 4.0 / (now() - start);
}

struct Profile {
  std::map<Key, std::vector<double>> seconds;  // of a step, by op
  std::vector<double> whole, peaks, bandwidths;
};

Profile profile(Model& model, const MicroBatch& batch, int repetitions, bool pairs) {
  const auto adapter = feed_forward_edits(model.architecture());
  const Tenant tenant = {adapter, adapter, std::make_shared<OptimizerState>(*adapter), {}, 1.0, false};
  const std::vector<float> memory(64 << 20);
  Profile result;
  JobControl control;
  control.arena = std::make_shared<Arena>();
  for (int repetition = -1; repetition < repetitions; ++repetition) {
    std::map<Key, double> spent;
    Key under_way = {"before", false};
    const double began = now();
    double since = began;
    const auto next = [&](const Key& key) {
      const double at = now();
      spent[under_way] += at - since;
      under_way = key;
      since = at;
    };
    control.observer = [&](const char* op, bool backward) { next({op, backward}); };
    train_step(model, {tenant}, {batch}, {}, control);
    next({"after", false});
    if (repetition < 0) continue;  // warm-up: allocates
    result.whole.push_back(since - began);
    for (const auto& [key, seconds] : spent) result.seconds[key].push_back(seconds);
    result.peaks.push_back(peak_of(pairs));
    result.bandwidths.push_back(bandwidth_of(memory));
  }
  return result;
}

void print(const Profile& profile, const std::map<Key, Work>& work) {
  const double peak = median(profile.peaks), bandwidth = median(profile.bandwidths), whole = median(profile.whole);
  std::printf("peak %.1f GFLOP/s, read %.1f GB/s, step %.1f ms\n", peak / 1e9, bandwidth / 1e9, 1e3 * whole);
  std::printf("%-20s %-8s %9s %6s %9s %8s %9s\n", "op", "", "ms", "share", "GFLOP/s", "GB/s", "of floor");
  std::vector<std::pair<double, Key>> order;
  for (const auto& [key, seconds] : profile.seconds) order.push_back({median(seconds), key});
  std::sort(order.rbegin(), order.rend());
  double operations = 0.0;
  for (const auto& [seconds, key] : order) {
    const auto found = work.find(key);
    const Work w = found == work.end() ? Work{} : found->second;
    operations += w.operations;
    const double floor = std::max(w.operations / peak, w.bytes / bandwidth);
    std::printf("%-20s %-8s %9.2f %5.1f%% %9.1f %8.1f %8.0f%%\n", key.first.c_str(),
                key.second ? "backward" : "forward", 1e3 * seconds, 100.0 * seconds / whole,
                w.operations / seconds / 1e9, w.bytes / seconds / 1e9, 100.0 * floor / seconds);
  }
  std::printf("%-20s %-8s %9.2f %5.1f%% %9.1f %17.0f%% of peak\n", "whole step", "", 1e3 * whole, 100.0,
              operations / whole / 1e9, 100.0 * operations / whole / peak);
}

}  // namespace
}  // namespace rubricate

int main(int argc, char** argv) {
  using namespace rubricate;
  const auto& shapes = llama_shapes();
  if (argc < 5 || shapes.find(argv[1]) == shapes.end()) {
    std::fprintf(stderr, "usage: bench_step 15m|110m f32|bf16 SEQUENCES LENGTH [repetitions]\n");
    return 2;
  }
  const LlamaShape shape = shapes.at(argv[1]);
  const DType dtype = std::strcmp(argv[2], "bf16") == 0 ? DType::bf16 : DType::f32;
  const int64_t sequences = std::atoll(argv[3]), length = std::atoll(argv[4]);
  const int repetitions = argc > 5 ? std::atoi(argv[5]) : 7;
  std::printf("%s %s %s, %d x %d tokens, %d threads\n", cpu_path_name(cpu_path()), argv[1], argv[2],
              static_cast<int>(sequences), static_cast<int>(length), ThreadPool::instance().size());
  const auto model = random_model(shape, dtype);
  print(profile(*model, random_batch(sequences, length, shape.vocabulary), repetitions, dtype == DType::bf16),
        work_of(shape, sequences, length, dtype));
}
