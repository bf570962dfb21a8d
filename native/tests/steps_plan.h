// Plans with steps (ops/steps/steps.h), and adapters of them with random numbers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/test_model.h"

namespace rubricate::testing {

// Takes parameters of a plan, and gives their indices.
class StepsPlan {
 public:
  explicit StepsPlan(const Architecture& architecture) : architecture_(architecture) {}
  int32_t take(const Shape& shape) {
    plan.parameters.push_back({"p" + std::to_string(plan.parameters.size()), shape, 0.0f, plan.count});
    plan.count += element_count(shape);
    return static_cast<int32_t>(plan.parameters.size()) - 1;
  }
  PlanStep linear(int64_t outputs, int64_t inputs) {
    return {.kind = StepKind::linear, .weight = take({outputs, inputs})};
  }
  PlanStep blocks(int64_t n, int64_t outputs, int64_t inputs) {
    return {.kind = StepKind::block_linear, .weight = take({n, outputs, inputs})};
  }
  PlanStep bias(int64_t width) { return {.kind = StepKind::affine, .bias = take({width})}; }
  PlanStep scale(int64_t width) { return {.kind = StepKind::affine, .scale = take({width})}; }
  int64_t inputs(Site site) const { return site_inputs(architecture_, site); }
  int64_t hidden() const { return architecture_.hidden; }
  int64_t outputs(Site site) const { return site_width(architecture_, site); }
  AdapterPlan plan;

 private:
  const Architecture& architecture_;
};

using StepsSite = void (*)(StepsPlan&, AdapterPlan::SitePlan&);

// y + up(gelu(down(y))), with biases.
inline void bottleneck_site(StepsPlan& plan, AdapterPlan::SitePlan& at) {
  const int64_t width = plan.outputs(at.site);
  at.output = {plan.linear(3, width), plan.bias(3),     {.kind = StepKind::activation, .activation = Activation::gelu},
               plan.linear(width, 3), plan.bias(width), {.kind = StepKind::residual}};
}

// 0.5 * B_g (A_g x_g), with a scale between.
inline void branch_site(StepsPlan& plan, AdapterPlan::SitePlan& at) {
  const int64_t inputs = plan.inputs(at.site), outputs = plan.outputs(at.site);
  at.branch = {plan.blocks(4, 2, inputs / 4),
               plan.scale(8),
               plan.blocks(4, outputs / 4, 2),
               {.kind = StepKind::scale, .by = 0.5f}};
}

// x + B silu(A x) of the input, and a scale of the output.
inline void input_site(StepsPlan& plan, AdapterPlan::SitePlan& at) {
  const int64_t inputs = plan.inputs(at.site);
  at.input = {plan.linear(2, inputs),
              {.kind = StepKind::activation, .activation = Activation::silu},
              plan.linear(inputs, 2),
              {.kind = StepKind::residual}};
  at.scale = plan.take({plan.outputs(at.site)});
  plan.plan.parameters.back().start = 1.0f;
}

// A branch of the input mixed with the embedding's output; where the input has another width, a bottleneck of the output mixed.
inline void mixing_site(StepsPlan& plan, AdapterPlan::SitePlan& at) {
  const int64_t inputs = plan.inputs(at.site), outputs = plan.outputs(at.site);
  const PlanStep mix{.kind = StepKind::mix_initial, .by = 0.25f};
  if (inputs == plan.hidden())
    at.branch = {mix, plan.linear(2, inputs), plan.linear(outputs, 2)};
  else if (outputs == plan.hidden())
    at.output = {mix, plan.linear(2, outputs), plan.linear(outputs, 2), {.kind = StepKind::residual}};
  else
    at.scale = plan.take({outputs});
}

// At every site of the first layer and the third.
inline std::shared_ptr<Adapter> random_steps(const Model& model, uint64_t seed, StepsSite fill) {
  StepsPlan plan(model.architecture());
  for (const int64_t layer : {0, 2})
    for (const Site site : all_sites(model.architecture())) {
      AdapterPlan::SitePlan own;
      own.layer = layer;
      own.site = site;
      fill(plan, own);
      plan.plan.sites.push_back(own);
    }
  auto adapter = std::make_shared<Adapter>(model.architecture(), plan.plan);
  randomize(*adapter, seed);
  return adapter;
}

}  // namespace rubricate::testing
