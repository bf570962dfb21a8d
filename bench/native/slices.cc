// How long a training step goes without a yield: the longest slices, by op, while nobody waits and while shorter jobs are under
// way, when large matmuls yield within.
//
//   bench_slices SHAPE DTYPE SEQUENCES LENGTH     SHAPE: 15m or 110m; DTYPE: f32 or bf16
//
// On one thread, in its processor time, so that other work on the machine matters little. On n cores a slice is about n
// times shorter.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <string>
#include <vector>

#include "device/cpu/thread_pool.h"
#include "native/random_model.h"
#include "train/train_step.h"

namespace rubricate {
namespace {

double now() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

void report(Model& model, const MicroBatch& batch, const std::shared_ptr<Arena>& arena, bool wanted) {
  const auto adapter = feed_forward_edits(model.architecture());
  const Tenant tenant = {adapter, adapter, std::make_shared<OptimizerState>(*adapter), {}, 1.0, false};
  std::map<std::string, double> longest;  // by the op that began last
  std::vector<double> slices;
  std::string under_way;
  double since = 0.0;
  JobControl control;
  control.arena = arena;
  control.observer = [&](const char* op, bool backward) { under_way = op + std::string(backward ? " backward" : ""); };
  control.yield = [&] {
    const double at = now();
    slices.push_back(at - since);
    longest[under_way] = std::max(longest[under_way], at - since);
    since = at;
  };
  control.wanted = [&] { return wanted; };
  since = now();
  train_step(model, {tenant}, {batch}, {}, control);
  std::sort(slices.rbegin(), slices.rend());
  double whole = 0.0;
  for (const double slice : slices) whole += slice;
  std::printf("%s: step %.0f ms, %zu slices, longest %.1f ms, 1 in 100 over %.1f ms\n",
              wanted ? "shorter jobs under way" : "nobody waits", 1e3 * whole, slices.size(), 1e3 * slices.front(),
              1e3 * slices[slices.size() / 100]);
  std::vector<std::pair<double, std::string>> order;
  for (const auto& [op, seconds] : longest) order.push_back({seconds, op});
  std::sort(order.rbegin(), order.rend());
  for (const auto& [seconds, op] : order)
    if (seconds > 0.1 * order.front().first) std::printf("  %-28s %8.1f ms\n", op.c_str(), 1e3 * seconds);
}

void report_all(const LlamaShape& shape, DType dtype, int64_t sequences, int64_t length) {
  const auto model = random_model(shape, dtype);
  const MicroBatch batch = random_batch(sequences, length, shape.vocabulary);
  const auto arena = std::make_shared<Arena>();
  for (const bool wanted : {false, true}) report(*model, batch, arena, wanted);
}

}  // namespace
}  // namespace rubricate

int main(int argc, char** argv) {
  using namespace rubricate;
  const auto& shapes = llama_shapes();
  if (argc != 5 || shapes.find(argv[1]) == shapes.end()) {
    std::fprintf(stderr, "usage: bench_slices 15m|110m f32|bf16 SEQUENCES LENGTH\n");
    return 2;
  }
  ThreadPool::instance().resize(1);
  const DType dtype = std::strcmp(argv[2], "bf16") == 0 ? DType::bf16 : DType::f32;
  report_all(shapes.at(argv[1]), dtype, std::atoll(argv[3]), std::atoll(argv[4]));
}
