// The time of a decoding step by op: a greedy step of a LLaMA with random weights, compared with a plain read of as
// many bytes as the step's weights have.
//
//   bench_decode SHAPE DTYPE SEQUENCES [steps [length]]     SHAPE: 15m or 110m; DTYPE: f32 or bf16;
//                                                           length: of the prompts
//
// Steps and reads alternate. Weights: all except the embedding, of which a step reads single rows. Share: the read's
// time over the step's. Quiet: the sum of each op call's best time over all steps, and likewise of the read in parts of
// 2 MiB. On a machine that others use, this estimates the times without them.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "device/cpu/thread_pool.h"
#include "native/random_model.h"
#include "tests/decoding.h"

#define RUBRICATE_KERNELS_USE_BF16
#define RUBRICATE_KERNELS "device/cpu/peak_kernels.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

float read_loop(const float* p, int64_t count) { RUBRICATE_DISPATCH(read_memory, p, count); }

// The seconds of each part of the read.
std::vector<double> read(const std::vector<float>& memory) {
  constexpr int64_t chunks = 16, floats = (2 << 20) / 4, part = floats / chunks;
  std::vector<float> sums(chunks);
  std::vector<double> seconds;
  for (size_t at = 0; at + floats <= memory.size(); at += floats) {
    const double start = now();
    ThreadPool::instance().parallel_for(
        chunks, [&](int64_t i) { sums[static_cast<size_t>(i)] = read_loop(memory.data() + at + i * part, part); });
    seconds.push_back(now() - start);
  }
  return seconds;
}

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

int64_t weight_bytes(const Model& model, DType dtype) {
  int64_t count = 0;
  for (const TensorSpec& spec : tensor_specs(model.architecture()))
    if (spec.name != "embed_tokens.weight")
      count += std::accumulate(spec.shape.begin(), spec.shape.end(), int64_t{1}, std::multiplies<>());
  return count * dtype_size(dtype);
}

// The calls of each step or read, in order.
using Calls = std::vector<std::vector<double>>;

struct Profile {
  std::vector<std::string> ops;  // the ops of a step's calls
  Calls steps, reads;
  double read_bytes;
};

Profile profile(const std::shared_ptr<const Model>& model, int64_t sequences, int steps, int64_t length,
                int64_t bytes) {
  testing::Decoding decoding(model, nullptr, sequences * KvPool::pages_for(length + steps + 3));
  for (int64_t s = 0; s < sequences; ++s) {
    std::vector<int32_t> prompt;
    for (int64_t i = 0; i < length; ++i) prompt.push_back(random_token(s, i, model->architecture().vocabulary));
    decoding.add(std::move(prompt));
  }
  const std::vector<float> memory(static_cast<size_t>(bytes / (2 << 20) * (2 << 20) / 4), 1.0f);
  Profile result;
  result.read_bytes = static_cast<double>(memory.size()) * 4.0;
  std::vector<std::string> ops;
  std::vector<double> times;
  decoding.stepper.observe([&](const char* op, bool) {
    times.push_back(now());
    ops.push_back(op);
  });
  for (int step = -3; step < steps; ++step) {  // the first feeds the prompts, and allocates
    ops = {"before"};
    times = {now()};
    decoding.step();
    times.push_back(now());
    const std::vector<double> reads = read(memory);
    if (step < 0) continue;
    for (size_t i = 0; i < ops.size(); ++i) times[i] = times[i + 1] - times[i];
    times.pop_back();
    result.ops = ops;
    result.steps.push_back(times);
    result.reads.push_back(reads);
  }
  return result;
}

std::vector<double> sums(const Calls& calls) {
  std::vector<double> sums;
  for (const auto& each : calls) sums.push_back(std::accumulate(each.begin(), each.end(), 0.0));
  return sums;
}

std::vector<double> best_calls(const Calls& calls) {
  std::vector<double> best = calls.front();
  for (const auto& each : calls)
    for (size_t i = 0; i < best.size(); ++i) best[i] = std::min(best[i], each[i]);
  return best;
}

void print(const Profile& profile, int64_t bytes) {
  const std::vector<double> best = best_calls(profile.steps);
  const auto line = [&](const char* name, double step, double read) {
    const double rate = static_cast<double>(bytes) / step / 1e9, plain = profile.read_bytes / read / 1e9;
    std::printf("%-8s step %7.3f ms, %5.1f GB/s; read %5.1f GB/s; share %5.1f %%\n", name, 1e3 * step, rate, plain,
                100.0 * rate / plain);
  };
  line("median", quantile(sums(profile.steps), 0.5), quantile(sums(profile.reads), 0.5));
  line("best", quantile(sums(profile.steps), 0.0), quantile(sums(profile.reads), 0.0));
  line("quiet", sums({best})[0], sums({best_calls(profile.reads)})[0]);
  std::map<std::string, std::pair<int, double>> by_op;  // calls, seconds
  for (size_t i = 0; i < best.size(); ++i) {
    auto& [calls, seconds] = by_op[profile.ops[i]];
    ++calls;
    seconds += best[i];
  }
  std::vector<std::pair<double, std::string>> order;
  for (const auto& [op, work] : by_op) order.push_back({work.second, op});
  std::sort(order.rbegin(), order.rend());
  for (const auto& [seconds, op] : order)
    std::printf("%-18s %3d calls %9.1f us %5.1f %%\n", op.c_str(), by_op[op].first, 1e6 * seconds,
                100.0 * seconds / sums({best})[0]);
}

}  // namespace
}  // namespace rubricate

int main(int argc, char** argv) {
  using namespace rubricate;
  const auto& shapes = llama_shapes();
  if (argc < 4 || shapes.find(argv[1]) == shapes.end()) {
    std::fprintf(stderr, "usage: bench_decode 15m|110m f32|bf16 SEQUENCES [steps [length]]\n");
    return 2;
  }
  const DType dtype = std::strcmp(argv[2], "bf16") == 0 ? DType::bf16 : DType::f32;
  const std::shared_ptr<const Model> model = random_model(shapes.at(argv[1]), dtype);
  const int64_t bytes = weight_bytes(*model, dtype);
  std::printf("%s %s %s, %s sequences, %d threads, %.1f MB of weights\n", cpu_path_name(cpu_path()), argv[1], argv[2],
              argv[3], ThreadPool::instance().size(), static_cast<double>(bytes) / 1e6);
  print(profile(model, std::atoll(argv[3]), argc > 4 ? std::atoi(argv[4]) : 64, argc > 5 ? std::atoll(argv[5]) : 16,
                bytes),
        bytes);
}
