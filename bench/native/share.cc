// What a training step costs beside streams: the processor time of its own work alone, in the small parts of a step that
// others share, and with turns of decoding streams between them, which leave cold caches behind.
//
//   bench_share SHAPE DTYPE SEQUENCES LENGTH STREAMS SHARE [steps]     SHAPE: 15m or 110m; DTYPE: f32 or bf16
//
// With RUBRICATE_NUM_THREADS=1 in processor time, so that other work on the machine matters little; otherwise in time of the
// clock. The three kinds of steps alternate; of each the medians are printed. Efficiency: the time alone over the kind's; the
// job's rate is that part of its share.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include "device/cpu/thread_pool.h"
#include "native/random_model.h"
#include "runtime/share.h"
#include "tests/decoding.h"
#include "train/train_step.h"

namespace rubricate {
namespace {

int64_t now_ns() {
  timespec time;
  clock_gettime(ThreadPool::instance().size() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Of one step.
struct Found {
  double step_ms = 0.0, served_ms = 0.0, longest_ms = 0.0;  // longest: between two turns
  int64_t turns = 0, switches = 0;
};

// Streams that each decode a token a turn.
class Streams {
 public:
  Streams(const std::shared_ptr<const Model>& model, int64_t count, int64_t vocabulary)
      : decoding_(model, nullptr, count * KvPool::pages_for(20000)) {
    for (int64_t s = 0; s < count; ++s) {
      std::vector<int32_t> prompt;
      for (int64_t i = 0; i < 64; ++i) prompt.push_back(random_token(s, i, vocabulary));
      decoding_.add(std::move(prompt));
    }
    decoding_.step();
  }
  void turn() { decoding_.step(); }

 private:
  testing::Decoding decoding_;
};

Found run(const std::function<void(const JobControl&)>& step, JobControl control, Streams* streams, Share& share) {
  Found found;
  int64_t resumed = now_ns(), last_turn = resumed;
  control.yield = [&] {
    if (streams == nullptr) return;
    const int64_t at = now_ns();
    share.trained(at - resumed);
    bool first = true;
    while (share.owes()) {
      const int64_t begin = now_ns();
      streams->turn();
      const int64_t end = now_ns();
      share.served(end - begin);
      found.served_ms += 1e-6 * static_cast<double>(end - begin);
      found.longest_ms = std::max(found.longest_ms, 1e-6 * static_cast<double>(begin - last_turn));
      last_turn = end;
      ++found.turns;
      found.switches += first;
      first = false;
    }
    resumed = now_ns();
  };
  const int64_t begin = now_ns();
  step(control);
  found.step_ms = 1e-6 * static_cast<double>(now_ns() - begin) - found.served_ms;
  return found;
}

void report(const LlamaShape& shape, DType dtype, int64_t sequences, int64_t length, int64_t count, double wanted,
            int steps) {
  const std::shared_ptr<Model> model = random_model(shape, dtype);
  const MicroBatch batch = random_batch(sequences, length, shape.vocabulary);
  const auto adapter = feed_forward_edits(model->architecture());
  const Tenant tenant = {adapter, adapter, std::make_shared<OptimizerState>(*adapter), {}, 1.0, false};
  Streams streams(model, count, shape.vocabulary);
  JobControl control;
  control.arena = std::make_shared<Arena>();
  const auto step = [&](const JobControl& with) { train_step(*model, {tenant}, {batch}, {}, with); };
  std::vector<std::vector<Found>> found(3);
  Share share(wanted);
  for (int i = -1; i < steps; ++i)
    for (size_t kind = 0; kind < 3; ++kind) {
      control.wanted = [kind] { return kind > 0; };
      const Found one = run(step, control, kind == 2 ? &streams : nullptr, share);
      if (i >= 0) found[kind].push_back(one);
    }
  const char* names[] = {"alone", "in small parts", "with turns between"};
  double alone = 0.0;
  for (size_t kind = 0; kind < 3; ++kind) {
    const auto of = [&](const std::function<double(const Found&)>& value) {
      std::vector<double> values;
      for (const Found& one : found[kind]) values.push_back(value(one));
      return median(values);
    };
    const double ms = of([](const Found& one) { return one.step_ms; });
    if (kind == 0) alone = ms;
    std::printf("%-20s %8.1f ms, efficiency %.3f", names[kind], ms, alone / ms);
    if (kind == 2) {
      const double turns = of([](const Found& one) { return static_cast<double>(one.turns); });
      const double served = of([](const Found& one) { return one.served_ms; });
      std::printf("; %.0f turns of %.2f ms, %.0f switches, share %.3f, longest between turns %.1f ms", turns, served / turns,
                  of([](const Found& one) { return static_cast<double>(one.switches); }), ms / (ms + served),
                  of([](const Found& one) { return one.longest_ms; }));
    }
    std::printf("\n");
  }
}

}  // namespace
}  // namespace rubricate

int main(int argc, char** argv) {
  using namespace rubricate;
  const auto& shapes = llama_shapes();
  if (argc < 7 || shapes.find(argv[1]) == shapes.end()) {
    std::fprintf(stderr, "usage: bench_share 15m|110m f32|bf16 SEQUENCES LENGTH STREAMS SHARE [steps]\n");
    return 2;
  }
  const DType dtype = std::strcmp(argv[2], "bf16") == 0 ? DType::bf16 : DType::f32;
  report(shapes.at(argv[1]), dtype, std::atoll(argv[3]), std::atoll(argv[4]), std::atoll(argv[5]), std::atof(argv[6]),
         argc > 7 ? std::atoi(argv[7]) : 3);
}
