#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>

#include "base/error.h"
#include "gpu/results.h"
#include "gpu/sections.h"
#include "native/random_model.h"
#include "tensor/conversion.h"
#include "tests/decoding.h"

namespace rubricate::bench {
namespace {

constexpr int kSteps = 5;  // of training, after two warm-up steps: a step takes seconds
const char* const kOutOfMemory = "ERR_OUT_OF_MEMORY";

LlamaShape shape_of(const Run& run) {
  return run.rehearse ? LlamaShape{97, 32, run.layers, 2, 48} : LlamaShape{32000, 4096, 32, 32, 11008};
}
int64_t length_of(const Run& run) { return run.rehearse ? 33 : 1024; }
std::vector<int64_t> training_batches(const Run& run) {
  return run.rehearse ? std::vector<int64_t>{1, 2} : std::vector<int64_t>{1, 2, 4, 8, 16};
}
std::vector<int64_t> decoding_batches(const Run& run) {
  return run.rehearse ? std::vector<int64_t>{1, 3} : std::vector<int64_t>{1, 8, 16};
}
constexpr int64_t kPrompt = 32, kMostSteps = 512;  // tokens of a prompt; of decoding

// Weights that another program can reproduce: all tensors are parts of one array of random bf16, tensor i from element
// 4096 i on, except the norms' weights, which are 1. So a 7B model needs only 0.3 GB on the host.
struct RandomWeights {
  explicit RandomWeights(const LlamaShape& shape) : architecture(Architecture::parse(json_of(shape))) {
    const std::vector<TensorSpec> specs = tensor_specs(architecture);
    int64_t longest = 0;
    for (const TensorSpec& spec : specs) longest = std::max(longest, element_count(spec.shape));
    const int64_t count = longest + 4096 * static_cast<int64_t>(specs.size());
    std::vector<float> wide(static_cast<size_t>(count));
    uint32_t state = 1;
    for (float& x : wide) {
      state = state * 1664525u + 1013904223u;
      x = (static_cast<float>(state >> 8) * 0x1p-24f - 0.5f) * 0.07f;  // of variance 0.02^2, LLaMA's initialisation
    }
    const auto arena = std::make_shared<Arena>();
    numbers = Tensor::empty(arena, {count}, DType::bf16);
    convert(wide.data(), DType::f32, numbers.raw(), DType::bf16, count);
    const std::vector<float> one(static_cast<size_t>(shape.hidden), 1.0f);
    ones = Tensor::empty(arena, {shape.hidden}, DType::bf16);
    convert(one.data(), DType::f32, ones.raw(), DType::bf16, shape.hidden);
    for (size_t i = 0; i < specs.size(); ++i) {
      const bool norm = specs[i].shape.size() == 1;
      if (!norm) offsets[specs[i].name] = 4096 * static_cast<int64_t>(i);
      const Tensor& from = norm ? ones : numbers;
      const void* const at = norm ? ones.raw() : numbers.data<bf16>() + 4096 * i;
      tensors[specs[i].name] = {DType::bf16, specs[i].shape, at, std::make_shared<Tensor>(from)};
    }
  }
  std::shared_ptr<Model> on_device(const Run& run) const {
    const double start = now();
    auto model = std::make_shared<Model>(architecture, tensors, DType::bf16, Model::Taken(), run.arena());
    run.stream->synchronize();
    std::fprintf(stderr, "%.2f GiB of weights put on %s in %.1f s\n",
                 static_cast<double>(model->owned_bytes()) / (1 << 30), run.device.name().c_str(), now() - start);
    return model;
  }

  Architecture architecture;
  Tensor numbers, ones;
  std::map<std::string, TensorSource> tensors;
  std::map<std::string, int64_t> offsets;  // of the matrices, in elements
};

// Trains on one batch repeatedly, from fresh edits.
class Training {
 public:
  Training(const Run& run, Model& model, int64_t batch, bool recompute)
      : run_(run),
        model_(model),
        recompute_(recompute),
        batch_(random_batch(batch, length_of(run), shape_of(run).vocabulary)),
        control_{nullptr, {}, run.arena()} {
    const auto adapter = feed_forward_edits(model.architecture());
    tenant_ = {adapter, adapter, std::make_shared<OptimizerState>(*adapter), {}, 1.0, false};
  }
  // Seconds of a step, and its loss.
  std::pair<double, double> step() {
    run_.stream->synchronize();
    const double start = now();
    const TenantResult result = train_step(model_, {tenant_}, {batch_}, {recompute_}, control_).front().result;
    run_.stream->synchronize();
    return {now() - start, result.loss};
  }
  struct Cost {
    double seconds = 0.0;
    int64_t launches = 0;
  };
  // Of a step by op and direction. Synchronizes after each op, so the sum of the times is more than a step's.
  std::map<std::pair<std::string, bool>, Cost> profiled_step() {
    std::map<std::pair<std::string, bool>, Cost> spent;
    std::pair<std::string, bool> under_way = {"before", false};
    double since = now();
    int64_t launched = run_.stream->kernels();
    const auto next = [&](const char* op, bool backward) {
      run_.stream->synchronize();
      const double at = now();
      const int64_t count = run_.stream->kernels();
      spent[under_way].seconds += at - since;
      spent[under_way].launches += count - launched;
      under_way = {op, backward};
      since = at;
      launched = count;
    };
    control_.observer = next;
    step();
    control_.observer = {};
    next("after", false);
    return spent;
  }

 private:
  const Run& run_;
  Model& model_;
  const bool recompute_;
  const MicroBatch batch_;
  JobControl control_;
  Tenant tenant_;
};

// Sequences that are decoded token by token, each from its own prompt.
class Decoding {
 public:
  Decoding(const Run& run, const std::shared_ptr<const Model>& model, int64_t batch)
      : sequences_(model, run.stream, batch * KvPool::pages_for(kPrompt + kMostSteps)) {
    const auto version = AdapterVersion::of(*feed_forward_edits(model->architecture()));
    for (int64_t s = 0; s < batch; ++s) {
      std::vector<int32_t> prompt;
      for (int64_t i = 0; i < kPrompt; ++i) prompt.push_back(random_token(s, i, shape_of(run).vocabulary));
      sequences_.add(std::move(prompt), version);
    }
  }
  // Seconds of one decoding step.
  double step() {
    const double start = now();
    sequences_.step(512);
    return now() - start;
  }

 private:
  testing::Decoding sequences_;
};

double gibibytes(int64_t bytes) { return static_cast<double>(bytes) / static_cast<double>(1 << 30); }

// Operations of a RED step: the matmuls and the causal half of attention, forward, and backward down to the first edit,
// without gradients of the frozen weights. Recomputation is not counted.
double operations_of(const LlamaShape& shape, int64_t tokens, int64_t length) {
  const auto d = static_cast<double>(shape.hidden), layers = static_cast<double>(shape.layers);
  const double linear = 2.0 * (4.0 * d * d + 3.0 * d * static_cast<double>(shape.feed_forward));
  const double head = 2.0 * d * static_cast<double>(shape.vocabulary);
  const double attention = 2.0 * d * static_cast<double>(length);  // 4 a pair and component, and 10 backward
  return static_cast<double>(tokens) *
         (layers * (linear + attention) + (layers - 1.0) * (linear + 2.5 * attention) + 2.0 * head);
}

// One row of the table; false if memory ran out.
bool time_batch(const Run& run, Results& results, Model& model, int64_t batch, bool recompute) {
  const int64_t tokens = batch * length_of(run);
  Row row = {
      {"batch", batch}, {"length", length_of(run)}, {"dtype", std::string("bfloat16")}, {"recompute", recompute}};
  try {
    Training training(run, model, batch, recompute);
    std::vector<double> seconds, losses;
    for (int i = -2; i < kSteps; ++i) {
      const auto [took, loss] = training.step();
      losses.push_back(loss);
      if (i >= 0) seconds.push_back(took);
    }
    const double rate = static_cast<double>(tokens) / median(seconds);
    const double peak = gibibytes(run.device.memory().peak);
    const double teraflops = 1e-12 * operations_of(shape_of(run), tokens, length_of(run)) / median(seconds);
    std::printf("%5ld %9s %10.1f %10.1f %9.1f %9.5f %9.5f %9.2f\n", static_cast<long>(batch), recompute ? "yes" : "no",
                rate, 1e3 * median(seconds), teraflops, losses.front(), losses.back(), peak);
    row.insert(row.end(), {{"tokensPerSecond", rate},
                           {"milliseconds", 1e3 * median(seconds)},
                           {"teraflops", teraflops},
                           {"firstLoss", losses.front()},
                           {"lastLoss", losses.back()},
                           {"peakGiB", peak}});
  } catch (const Error& error) {
    if (std::string(error.code()) != kOutOfMemory) throw;
    std::printf("%5ld %9s %s\n", static_cast<long>(batch), recompute ? "yes" : "no", error.what());
    row.push_back({"error", std::string(error.what())});
  }
  std::fflush(stdout);
  results.add(row);
  return row.back().first != std::string("error");
}

}  // namespace

void time_training(const Run& run) {
  Results results(run.out);
  const auto model = RandomWeights(shape_of(run)).on_device(run);
  std::printf("%5s %9s %10s %10s %9s %9s %9s %9s   training, %ld tokens a sequence\n", "batch", "recompute", "tokens/s",
              "ms", "TFLOP/s", "loss", "last", "peak GiB", static_cast<long>(length_of(run)));
  for (const int64_t batch : training_batches(run))
    if (!time_batch(run, results, *model, batch, false) && !time_batch(run, results, *model, batch, true)) break;
}

void profile_training(const Run& run) {
  Results results(run.out);
  const auto model = RandomWeights(shape_of(run)).on_device(run);
  const int64_t batch = run.rehearse ? 1 : 4;
  Training training(run, *model, batch, false);
  for (int i = 0; i < 2; ++i) training.step();
  using Spent = std::pair<std::pair<std::string, bool>, Training::Cost>;
  const auto spent = training.profiled_step();
  std::vector<Spent> order(spent.begin(), spent.end());
  std::sort(order.begin(), order.end(),
            [](const Spent& a, const Spent& b) { return a.second.seconds > b.second.seconds; });
  std::printf("%-20s %-8s %9s %9s   one step of %ld x %ld tokens, op by op\n", "op", "", "ms", "launches",
              static_cast<long>(batch), static_cast<long>(length_of(run)));
  for (const auto& [key, cost] : order) {
    const char* const direction = key.second ? "backward" : "forward";
    std::printf("%-20s %-8s %9.2f %9ld\n", key.first.c_str(), direction, 1e3 * cost.seconds,
                static_cast<long>(cost.launches));
    results.add({{"op", key.first},
                 {"direction", std::string(direction)},
                 {"milliseconds", 1e3 * cost.seconds},
                 {"launches", cost.launches}});
  }
}

void time_decoding(const Run& run) {
  Results results(run.out);
  const std::shared_ptr<const Model> model = RandomWeights(shape_of(run)).on_device(run);
  std::printf("%5s %10s %10s   decoding\n", "batch", "tokens/s", "ms");
  for (const int64_t batch : decoding_batches(run)) {
    Decoding decoding(run, model, batch);
    std::vector<double> seconds;
    for (int i = -3; i < run.repetitions; ++i) {
      const double took = decoding.step();
      if (i >= 0) seconds.push_back(took);
    }
    const double rate = static_cast<double>(batch) / median(seconds);
    std::printf("%5ld %10.1f %10.2f\n", static_cast<long>(batch), rate, 1e3 * median(seconds));
    std::fflush(stdout);
    results.add({{"batch", batch}, {"tokensPerSecond", rate}, {"milliseconds", 1e3 * median(seconds)}});
  }
}

namespace {

// weights.bin, and work.json: the shape, each matrix's offset, and the tokens.
void hand_over(const Run& run, const RandomWeights& weights) {
  std::ofstream binary(run.handover + "/weights.bin", std::ios::binary);
  binary.write(static_cast<const char*>(weights.numbers.raw()), weights.numbers.bytes());
  const LlamaShape shape = shape_of(run);
  std::ofstream work(run.handover + "/work.json");
  work << concat("{\"vocabulary\": ", shape.vocabulary, ", \"hidden\": ", shape.hidden, ", \"layers\": ", shape.layers,
                 ", \"heads\": ", shape.heads, ", \"feed_forward\": ", shape.feed_forward, ", \"prompt\": ", kPrompt,
                 ",\n");
  const auto list = [&](const char* name, const std::vector<int64_t>& values) {
    work << "\"" << name << "\": [";
    for (size_t i = 0; i < values.size(); ++i) work << (i == 0 ? "" : ", ") << values[i];
    work << "],\n";
  };
  list("training", training_batches(run));
  list("decoding", decoding_batches(run));
  work << "\"offsets\": {";
  for (const auto& [name, offset] : weights.offsets)
    work << (name == weights.offsets.begin()->first ? "" : ", ") << json_text(name) << ": " << offset;
  work << "},\n\"tokens\": [";
  for (int64_t s = 0; s < training_batches(run).back() || s < decoding_batches(run).back(); ++s) {
    work << (s == 0 ? "[" : ",\n[");
    for (int64_t i = 0; i < length_of(run); ++i) work << (i == 0 ? "" : ",") << random_token(s, i, shape.vocabulary);
    work << "]";
  }
  work << "]}\n" << std::flush;
  binary.flush();
  require(work.good() && binary.good(), "ERR_FILE", "Could not write to ", run.handover);
}

}  // namespace

void take_turns(const Run& run) {
  const RandomWeights weights(shape_of(run));
  hand_over(run, weights);
  const auto model = weights.on_device(run);
  const auto say = [](const Row& row) { std::cout << json_of_row(row) << std::endl; };
  say({{"ready", true}});
  std::unique_ptr<Training> training;
  std::unique_ptr<Decoding> decoding;
  std::string before;
  for (std::string line; std::getline(std::cin, line) && line != "end";) {
    const bool trains = line.rfind("train ", 0) == 0;
    require(trains || line.rfind("decode ", 0) == 0, "ERR_ARGUMENT", "Expected train or decode but received ", line);
    const int64_t batch = std::stoll(line.substr(line.find(' ')));
    try {
      if (line != before) {
        training.reset();
        decoding.reset();
        if (trains) training = std::make_unique<Training>(run, *model, batch, false);
        if (!trains) decoding = std::make_unique<Decoding>(run, model, batch);
      }
      before = line;
      if (trains) {
        const auto [seconds, loss] = training->step();
        say({{"seconds", seconds}, {"loss", loss}});
      } else {
        say({{"seconds", decoding->step()}});
      }
    } catch (const Error& error) {
      if (std::string(error.code()) != kOutOfMemory) throw;
      before.clear();
      say({{"error", std::string(error.what())}});
    }
  }
}

}  // namespace rubricate::bench
