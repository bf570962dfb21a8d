#include "adapter/merge.h"

#include <functional>
#include <vector>

#include "adapter/adapter_batch.h"
#include "doctest/doctest.h"
#include "model/edited_linear.h"
#include "tests/steps_plan.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

const std::atomic<bool> kNotCancelled{false};
constexpr Site kSite = Site::down_proj;

const Architecture& architecture() {
  static const Architecture made = Architecture::parse(tiny_json({}));
  return made;
}

int64_t inputs() { return site_inputs(architecture(), kSite); }
int64_t outputs() { return site_width(architecture(), kSite); }

// An adapter that changes down_proj of layer 1, with random numbers.
std::shared_ptr<Adapter> adapter_of(const std::function<void(StepsPlan&, AdapterPlan::SitePlan&)>& make) {
  StepsPlan made(architecture());
  AdapterPlan::SitePlan site;
  site.layer = 1;
  site.site = kSite;
  make(made, site);
  made.plan.sites.push_back(site);
  auto adapter = std::make_shared<Adapter>(architecture(), std::move(made.plan));
  randomize(*adapter, 3);
  return adapter;
}

SiteMerge merge_of(const std::shared_ptr<Adapter>& adapter) {
  return {architecture(), AdapterVersion::of(*adapter), 1, kSite};
}

Tensor random_matrix(const Shape& shape, uint64_t seed, DType dtype = DType::f32) {
  return random_tensor(test_arena(), shape, dtype, seed);
}

Tensor merged_weight(const std::shared_ptr<Adapter>& adapter, const Tensor& w, DType dtype = DType::f32) {
  const Tensor to = Tensor::empty(test_arena(), w.shape(), dtype);
  merge_of(adapter).weight(to, w, kNotCancelled);
  return to;
}

Tensor merged_bias(const std::shared_ptr<Adapter>& adapter, const Tensor& w, const Tensor* bias) {
  const Tensor to = Tensor::empty(test_arena(), {outputs()}, DType::f32);
  merge_of(adapter).bias(
      to, bias, [&] { return w; }, kNotCancelled);
  return to;
}

// What the site computes for x.
Doubles computed(const std::shared_ptr<Adapter>& adapter, const Tensor& w, const Tensor* bias, const Tensor& x) {
  Tape tape(test_arena(), Tape::Mode::inference);
  const AdapterBatch batch(architecture(), {adapter}, false, {nullptr, {}, test_arena()});
  const LinearLayer layer{Weight::of(w), bias != nullptr ? Var(*bias) : Var()};
  const int32_t starts[] = {0, static_cast<int32_t>(x.dim(0))}, slot = 1;
  return to_doubles(
      edited_linear(tape, x, {layer, batch.at(1, kSite), DType::f32}, {x.dim(0), 1, starts, &slot}).value());
}

// W' x + b' in double.
Doubles applied(const Tensor& w, const Tensor& bias, const Tensor& x) {
  const Doubles weight = to_doubles(w), added = to_doubles(bias), rows = to_doubles(x);
  Doubles y;
  for (size_t row = 0; row < static_cast<size_t>(x.dim(0)); ++row)
    for (size_t n = 0; n < added.size(); ++n) {
      double sum = added[n];
      for (size_t k = 0; k < static_cast<size_t>(inputs()); ++k)
        sum += weight[n * static_cast<size_t>(inputs()) + k] * rows[row * static_cast<size_t>(inputs()) + k];
      y.push_back(sum);
    }
  return y;
}

void low_rank(StepsPlan& plan, AdapterPlan::SitePlan& at) {
  at.a = plan.take({3, inputs()});
  at.b = plan.take({outputs(), 3});
  at.factor = 0.5f;
}

void vectors(StepsPlan& plan, AdapterPlan::SitePlan& at) {
  at.input_scale = plan.take({inputs()});
  at.scale = plan.take({outputs()});
  at.bias = plan.take({outputs()});
}

// Every third entry of W.
void sparse(StepsPlan& plan, AdapterPlan::SitePlan& at) {
  std::vector<int32_t> indices;
  for (int32_t i = 1; i < outputs() * inputs(); i += 3) indices.push_back(i);
  at.sparse_values = plan.take({static_cast<int64_t>(indices.size())});
  at.sparse_index = static_cast<int32_t>(plan.plan.indices.size());
  plan.plan.indices.push_back(
      {"index", std::make_shared<const SparseIndex>(outputs(), inputs(), indices.data(),
                                                    static_cast<int64_t>(indices.size()), "index")});
}

void input_steps(StepsPlan& plan, AdapterPlan::SitePlan& at) {
  at.input = {plan.bias(inputs()),
              plan.linear(2, inputs()),
              plan.linear(inputs(), 2),
              {.kind = StepKind::residual},
              plan.scale(inputs())};
}

void output_steps(StepsPlan& plan, AdapterPlan::SitePlan& at) {
  at.output = {plan.blocks(4, 2, outputs() / 4),
               plan.linear(outputs(), 8),
               {.kind = StepKind::scale, .by = -2.0f},
               {.kind = StepKind::residual},
               plan.bias(outputs())};
}

void branch_steps(StepsPlan& plan, AdapterPlan::SitePlan& at) {
  branch_site(plan, at);
  at.branch.push_back(plan.bias(outputs()));
}

void all_parts(StepsPlan& plan, AdapterPlan::SitePlan& at) {
  low_rank(plan, at);
  vectors(plan, at);
  sparse(plan, at);
  input_steps(plan, at);
  branch_steps(plan, at);
  output_steps(plan, at);
}

}  // namespace

TEST_CASE("a merged weight and bias compute what the site computes, whichever linear parts it has") {
  const Tensor x = random_matrix({5, inputs()}, 1), bias = random_matrix({outputs()}, 2);
  for (const auto& make : {low_rank, vectors, sparse, input_steps, branch_steps, output_steps, all_parts})
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const Tensor* own : {&bias, static_cast<const Tensor*>(nullptr)}) {
        const auto adapter = adapter_of(make);
        const Tensor w = random_matrix({outputs(), inputs()}, 4, dtype);
        const Doubles expected = computed(adapter, w, own, x);
        const Doubles received = applied(merged_weight(adapter, w), merged_bias(adapter, w, own), x);
        double largest = 0.0;
        for (const double value : expected) largest = std::max(largest, std::abs(value));
        CHECK(largest > 0.1);
        CHECK(max_error(received, expected) < 2e-6 * largest);
      }
}

TEST_CASE("a merged weight without steps is diag(scale) (W diag(input_scale) + factor B A), exactly") {
  const auto adapter = adapter_of([](StepsPlan& plan, AdapterPlan::SitePlan& at) {
    low_rank(plan, at);
    vectors(plan, at);
  });
  // Integers, so that no sum is rounded.
  for (int64_t i = 0; i < adapter->values().count(); ++i)
    adapter->values().data<float>()[i] = static_cast<float>(i * 7 % 5 - 2);
  const Tensor w = Tensor::empty(test_arena(), {outputs(), inputs()}, DType::f32);
  for (int64_t i = 0; i < w.count(); ++i) w.data<float>()[i] = static_cast<float>(i * 11 % 7 - 3);
  const Tensor received = merged_weight(adapter, w);
  const auto value = [&](int32_t index, int64_t at) { return adapter->var(index).value().data<float>()[at]; };
  for (int64_t n = 0; n < outputs(); ++n)
    for (int64_t k = 0; k < inputs(); ++k) {
      float sum = w.data<float>()[n * inputs() + k] * value(2, k);
      for (int64_t r = 0; r < 3; ++r) sum += 0.5f * value(1, n * 3 + r) * value(0, r * inputs() + k);
      CHECK(received.data<float>()[n * inputs() + k] == value(3, n) * sum);
    }
}

TEST_CASE("a merged weight is rounded once, to bfloat16") {
  // 1 + 2^-8 is a tie between two bfloat16; the update of 2^-20 decides it only if the sum is not rounded before.
  for (const bool steps : {false, true}) {
    const auto adapter = adapter_of([&](StepsPlan& plan, AdapterPlan::SitePlan& at) {
      if (steps)
        at.branch = {plan.linear(1, inputs()), plan.linear(outputs(), 1)};
      else
        low_rank(plan, at);
    });
    set_zero(adapter->values());
    adapter->var(0).value().data<float>()[0] = 1.0f;
    adapter->var(1).value().data<float>()[0] = steps ? 0x1p-20f : 0x1p-19f;
    const Tensor w = Tensor::zeros(test_arena(), {outputs(), inputs()}, DType::f32);
    w.data<float>()[0] = 1.0f + 0x1p-8f;
    CHECK(*static_cast<const uint16_t*>(merged_weight(adapter, w, DType::bf16).raw()) == 0x3f81);
  }
}

TEST_CASE("a norm's merged weight is the adapter's own") {
  StepsPlan made(architecture());
  AdapterPlan::SitePlan site;
  site.layer = 1;
  site.site = Site::post_norm;
  site.own_weight = made.take({outputs()});
  made.plan.sites.push_back(site);
  const auto adapter = std::make_shared<Adapter>(architecture(), std::move(made.plan));
  randomize(*adapter, 3);
  const Tensor to = Tensor::zeros(test_arena(), {outputs()}, DType::f32), from = random_matrix({outputs()}, 2);
  SiteMerge(architecture(), AdapterVersion::of(*adapter), 1, Site::post_norm).weight(to, from, kNotCancelled);
  CHECK(to_doubles(to) == to_doubles(adapter->values()));
}

TEST_CASE("a merge checks its sizes and steps, and stops when it is cancelled") {
  const auto adapter = adapter_of(all_parts);
  const Tensor w = random_matrix({outputs(), inputs()}, 4), to = Tensor::empty(test_arena(), w.shape(), DType::f32);
  const Tensor vector = random_matrix({outputs()}, 2);
  const auto code = [](auto&& run) { return thrown(run).first; };
  CHECK(code([&] { merge_of(adapter).weight(vector, w, kNotCancelled); }) == "ERR_SHAPE");
  CHECK(code([&] { merge_of(adapter).weight(vector, vector, kNotCancelled); }) == "ERR_SHAPE");
  CHECK(code([&] {
          merge_of(adapter).bias(
              to, nullptr, [&] { return w; }, kNotCancelled);
        }) == "ERR_SHAPE");
  CHECK(code([&] {
          merge_of(adapter).bias(
              vector, &w, [&] { return w; }, kNotCancelled);
        }) == "ERR_SHAPE");
  CHECK(code([&] { SiteMerge(architecture(), AdapterVersion::of(*adapter), 0, kSite); }) == "ERR_ARGUMENT");
  CHECK(code([&] { merge_of(adapter_of(bottleneck_site)); }) == "ERR_MERGE");
  CHECK(code([&] {
          merge_of(adapter_of([](StepsPlan& plan, AdapterPlan::SitePlan& at) {
            at.norm_weight = plan.take({outputs()});
            at.norm_bias = plan.take({outputs()});
          }));
        }) == "ERR_MERGE");
  const std::atomic<bool> cancelled{true};
  for (const auto& make : {low_rank, all_parts}) {
    CHECK(code([&] { merge_of(adapter_of(make)).weight(to, w, cancelled); }) == "ERR_ABORTED");
    CHECK(code([&] {
            merge_of(adapter_of(make))
                .bias(
                    vector, nullptr, [&] { return w; }, cancelled);
          }) == "ERR_ABORTED");
  }
}
