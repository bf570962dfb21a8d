// Where the time of a decoding step goes: each op of a greedy step of a LLaMA with random weights, beside a plain read
// of as many bytes as the step's weights have.
//
//   bench_decode SHAPE DTYPE SEQUENCES [steps [length]]     SHAPE: 15m or 110m; DTYPE: f32 or bf16; length of the
//   prompts
//
// Steps and reads take turns. Weights: all but the embedding, of which a step takes single rows. Share: the read's time
// over the step's; medians, and the best of each.
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
#include "generate/decoder.h"
#include "native/random_model.h"

#define RUBRICATE_KERNELS_USE_BF16
#define RUBRICATE_KERNELS "native/peak.inl"
#include "device/cpu/simd/for_each_target.h"

namespace rubricate {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

float read_loop(const float* p, int64_t count) { RUBRICATE_DISPATCH(read_memory, p, count); }

double seconds_to_read(const std::vector<float>& memory) {
  constexpr int64_t chunks = 64;
  std::vector<float> sums(chunks);
  const int64_t part = static_cast<int64_t>(memory.size()) / chunks;
  const double start = now();
  ThreadPool::instance().parallel_for(
      chunks, [&](int64_t i) { sums[static_cast<size_t>(i)] = read_loop(memory.data() + i * part, part); });
  return now() - start;
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

struct Profile {
  std::map<std::string, std::vector<double>> seconds;  // of a step, by op
  std::vector<double> steps, reads;
};

Profile profile(const std::shared_ptr<const Model>& model, int64_t sequences, int steps, int64_t length,
                int64_t bytes) {
  Decoder decoder(model, std::make_shared<Arena>());
  std::vector<DecodeRequest> requests;
  for (int64_t s = 0; s < sequences; ++s) {
    requests.push_back({decoder.add_sequence(), {}, nullptr, {}});
    requests.back().sampling.temperature = 0.0f;
    for (int64_t i = 0; i < length; ++i)
      requests.back().tokens.push_back(random_token(s, i, model->architecture().vocabulary));
  }
  const std::vector<float> memory(static_cast<size_t>(bytes / 4), 1.0f);
  Profile result;
  JobControl control;
  control.arena = std::make_shared<Arena>();
  for (int step = -3; step < steps; ++step) {  // the first feeds the prompts, and allocates
    std::map<std::string, double> spent;
    std::string under_way = "before";
    const double began = now();
    double since = began;
    const auto next = [&](const char* op) {
      const double at = now();
      spent[under_way] += at - since;
      under_way = op;
      since = at;
    };
    control.observer = [&](const char* op, bool) { next(op); };
    const std::vector<int32_t> tokens = decoder.step(requests, 256, control);
    next("after");
    for (size_t i = 0; i < requests.size(); ++i) requests[i].tokens = {tokens[i]};
    const double read = seconds_to_read(memory);
    if (step < 0) continue;
    result.steps.push_back(since - began);
    result.reads.push_back(read);
    for (const auto& [op, seconds] : spent) result.seconds[op].push_back(seconds);
  }
  return result;
}

void print(const Profile& profile, int64_t bytes) {
  const double size = static_cast<double>(bytes) / 1e9;
  for (const auto& [name, q] : {std::pair<const char*, double>{"median", 0.5}, {"best", 0.0}}) {
    const double step = quantile(profile.steps, q), read = quantile(profile.reads, q);
    std::printf("%-8s step %7.3f ms, %5.1f GB/s; read %5.1f GB/s; share %5.1f %%\n", name, 1e3 * step, size / step,
                size / read, 100.0 * read / step);
  }
  std::printf("%-18s %12s %12s\n", "op", "median us", "best us");
  std::vector<std::pair<double, std::string>> order;
  for (const auto& [op, seconds] : profile.seconds) order.push_back({quantile(seconds, 0.5), op});
  std::sort(order.rbegin(), order.rend());
  for (const auto& [seconds, op] : order)
    std::printf("%-18s %12.1f %12.1f\n", op.c_str(), 1e6 * seconds, 1e6 * quantile(profile.seconds.at(op), 0.0));
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
