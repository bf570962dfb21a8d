// The time of a training step by method: RED after the feed-forward, LoRA of rank 8 at q and v, a sparse update of 0.5 % of the
// entries of all linear layers, and y += B A x of rank 8 at q and v as steps, with a parameter A and with A = relu(D W),
// a product before the forward and one after the backward; on a LLaMA with random weights.
//
//   bench_adapters SHAPE DTYPE SEQUENCES LENGTH [repetitions]     SHAPE: 15m or 110m; DTYPE: f32 or bf16
//
// The methods take turns, so that a change of the machine's speed meets all of them. Prints the medians, and the medians over
// the turns of LoRA's time divided by the sparse update's, and of the time without products by that with: tokens a second relative to the other's, by the clock, and by the processor
// time of all threads, which other programs disturb less.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include "adapter/derived.h"
#include "device/cpu/cpu_path.h"
#include "device/cpu/thread_pool.h"
#include "native/random_model.h"

namespace rubricate {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// A plan whose sites `fill` fills; take(name, shape) adds a parameter.
template <typename Fill>
std::shared_ptr<Adapter> adapter_of(const Architecture& architecture, const std::vector<Site>& sites, Fill&& fill) {
  AdapterPlan plan;
  const auto take = [&](const std::string& name, const Shape& shape) {
    plan.parameters.push_back({name, shape, 0.01f, plan.count});
    plan.count += element_count(shape);
    return static_cast<int32_t>(plan.parameters.size()) - 1;
  };
  for (int64_t layer = 0; layer < architecture.stack.layers; ++layer)
    for (const Site site : sites) {
      AdapterPlan::SitePlan own;
      own.layer = layer;
      own.site = site;
      fill(plan, own, site_name(layer, site), site_width(architecture, site), site_inputs(architecture, site), take);
      plan.sites.push_back(own);
    }
  return std::make_shared<Adapter>(architecture, std::move(plan));
}

std::shared_ptr<Adapter> lora(const Architecture& architecture) {
  return adapter_of(architecture, {Site::q_proj, Site::v_proj},
                    [](AdapterPlan&, AdapterPlan::SitePlan& at, const std::string& name, int64_t outputs,
                       int64_t inputs, const auto& take) {
                      at.a = take(name + ".A", {8, inputs});
                      at.b = take(name + ".B", {outputs, 8});
                      at.factor = 1.0f;
                    });
}

std::shared_ptr<Adapter> sparse(const Architecture& architecture) {
  std::vector<Site> sites;
  for (const auto& [site, name] : kSiteNames)
    if (!is_norm(site)) sites.push_back(site);
  return adapter_of(architecture, sites,
                    [](AdapterPlan& plan, AdapterPlan::SitePlan& at, const std::string& name, int64_t outputs,
                       int64_t inputs, const auto& take) {
                      std::vector<int32_t> indices;
                      for (int64_t i = 0; i < outputs * inputs; ++i)
                        if (philox_uniform(plan.indices.size(), 1, static_cast<uint64_t>(i)) < 0.005)
                          indices.push_back(static_cast<int32_t>(i));
                      const auto count = static_cast<int64_t>(indices.size());
                      at.sparse_values = take(name + ".delta", {count});
                      at.sparse_index = static_cast<int32_t>(plan.indices.size());
                      plan.indices.push_back(
                          {name, std::make_shared<SparseIndex>(outputs, inputs, indices.data(), count, name.c_str())});
                    });
}

// changed: with the product; else the same steps with a parameter in its place.
std::shared_ptr<Adapter> branch(const Architecture& architecture, bool changed) {
  const auto first_derived = static_cast<int32_t>(4 * architecture.stack.layers);  // after all parameters
  return adapter_of(architecture, {Site::q_proj, Site::v_proj},
                    [=](AdapterPlan& plan, AdapterPlan::SitePlan& at, const std::string& name, int64_t outputs,
                        int64_t inputs, const auto& take) {
                      constexpr int64_t kRank = 8;
                      int32_t a = take(name + ".A", {kRank, changed ? outputs : inputs});
                      const int32_t b = take(name + ".B", {outputs, kRank});
                      for (const DerivedKind kind : {DerivedKind::weight_product, DerivedKind::activation}) {
                        if (!changed) break;
                        PlanDerived derived;
                        derived.name = name;
                        derived.kind = kind;
                        derived.operands.push_back({.index = a});
                        derived.layer = at.layer;
                        derived.site = at.site;
                        derived.along_outputs = true;
                        derived.activation = Activation::relu;
                        derived.shape = {kRank, inputs};
                        derived.offset = plan.derived_count;
                        plan.derived_count += kRank * inputs;
                        plan.derived.push_back(derived);
                        a = first_derived + static_cast<int32_t>(plan.derived.size()) - 1;
                      }
                      at.branch = {{.kind = StepKind::linear, .weight = a}, {.kind = StepKind::linear, .weight = b}};
                    });
}

// Milliseconds of processor time that making the derived values and taking their gradients back takes, the least of some turns.
double derived_ms(const Model& model, const Adapter& adapter, const JobControl& control, int turns) {
  const AdapterPlan& plan = *adapter.plan();
  const WeightProducts products(&model, control);
  std::vector<float> derived(static_cast<size_t>(plan.derived_count)), gradients(static_cast<size_t>(plan.count));
  double least = 1e9;
  for (int turn = 0; turn < turns; ++turn) {
    const std::clock_t start = std::clock();
    derive(plan, adapter.values().data<float>(), derived.data(), products);
    derive_backward(plan, adapter.values().data<float>(), derived.data(), derived.data(), gradients.data(), products);
    least = std::min(least, 1e3 * static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  }
  return least;
}

void run(const LlamaShape& shape, DType dtype, int64_t sequences, int64_t length, int repetitions) {
  const auto model = random_model(shape, dtype);
  const MicroBatch batch = random_batch(sequences, length, shape.vocabulary);
  struct Method {
    const char* name;
    std::shared_ptr<Adapter> adapter;
    std::vector<double> seconds = {}, processor = {};
  };
  std::vector<Method> methods{{"red", feed_forward_edits(model->architecture())},
                              {"lora", lora(model->architecture())},
                              {"sparse", sparse(model->architecture())},
                              {"branch", branch(model->architecture(), false)},
                              {"product", branch(model->architecture(), true)}};
  std::vector<Tenant> tenants;
  for (const Method& method : methods)
    tenants.push_back(
        {method.adapter, method.adapter, std::make_shared<OptimizerState>(*method.adapter), {}, 1.0, false});
  JobControl control;
  control.arena = std::make_shared<Arena>();
  for (int repetition = -1; repetition < repetitions; ++repetition) {  // the first warms up
    for (size_t i = 0; i < methods.size(); ++i) {
      const double start = now();
      const std::clock_t used = std::clock();
      train_step(*model, {tenants[i]}, {batch}, {}, control);
      if (repetition < 0) continue;
      methods[i].seconds.push_back(now() - start);
      methods[i].processor.push_back(static_cast<double>(std::clock() - used) / CLOCKS_PER_SEC);
    }
  }
  for (const Method& method : methods)
    std::printf("%-8s %9.1f ms %9.1f ms of processors %9.0f tokens/s %10d numbers\n", method.name,
                1e3 * median(method.seconds), 1e3 * median(method.processor),
                static_cast<double>(sequences * length) / median(method.seconds),
                static_cast<int>(method.adapter->plan()->count));
  const auto compare = [&](const Method& one, const Method& with) {
    std::vector<double> ratios, processor_ratios;
    for (size_t i = 0; i < one.seconds.size(); ++i) {
      ratios.push_back(with.seconds[i] / one.seconds[i]);
      processor_ratios.push_back(with.processor[i] / one.processor[i]);
    }
    std::printf("%s: %.3f of the tokens/s of %s, %.3f by processor time\n", one.name, median(ratios), with.name,
                median(processor_ratios));
  };
  compare(methods[2], methods[1]);
  compare(methods[4], methods[3]);
  std::printf("product: %.1f ms of processors for the derived values of a step\n",
              derived_ms(*model, *methods[4].adapter, control, 5));
}

}  // namespace
}  // namespace rubricate

int main(int argc, char** argv) {
  using namespace rubricate;
  const auto& shapes = llama_shapes();
  if (argc < 5 || shapes.find(argv[1]) == shapes.end()) {
    std::fprintf(stderr, "usage: bench_adapters 15m|110m f32|bf16 SEQUENCES LENGTH [repetitions]\n");
    return 2;
  }
  const DType dtype = std::strcmp(argv[2], "bf16") == 0 ? DType::bf16 : DType::f32;
  std::printf("%s %s %s, %s x %s tokens, %d threads\n", cpu_path_name(cpu_path()), argv[1], argv[2], argv[3], argv[4],
              ThreadPool::instance().size());
  run(shapes.at(argv[1]), dtype, std::atoll(argv[3]), std::atoll(argv[4]), argc > 5 ? std::atoi(argv[5]) : 5);
}
