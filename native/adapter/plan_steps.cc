#include "adapter/plan_steps.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/limits.h"

namespace rubricate {
namespace {

constexpr int64_t kMostSteps = 32;  // of a part

PlanStep parse_linear(const JsonAt& at, PlanStep step, PlanIndices& indices, const PlanConstants& constants) {
  at.expect_only({"op", "weight", "constant"});
  step.constant = at.has("constant");
  if (step.constant == at.has("weight")) at.reject("either a weight or a constant");
  if (!step.constant) {
    step.weight = indices.shared(at["weight"]);
    return step;
  }
  if (constants.list.empty()) at["constant"].reject("a plan with constants");
  step.weight = static_cast<int32_t>(at["constant"].integer(0, static_cast<int64_t>(constants.list.size()) - 1));
  return step;
}

PlanStep parse_step(const JsonAt& at, PlanIndices& indices, const PlanConstants& constants) {
  const auto kind = value_of(kStepNames, at["op"].string());
  if (!kind) at["op"].reject("linear, block_linear, scale, affine, residual, activation or mix_initial");
  PlanStep step;
  step.kind = *kind;
  switch (step.kind) {
    case StepKind::linear:
    case StepKind::block_linear:
      return parse_linear(at, step, indices, constants);
    case StepKind::scale:
      at.expect_only({"op", "by"});
      step.by = static_cast<float>(at["by"].number());
      if (!std::isfinite(step.by)) at["by"].reject("a finite float32 number");
      return step;
    case StepKind::affine:
      at.expect_only({"op", "scale", "bias"});
      if (!at.has("scale") && !at.has("bias")) at.reject("a scale or a bias");
      if (at.has("scale")) step.scale = indices.shared(at["scale"]);
      if (at.has("bias")) step.bias = indices.shared(at["bias"]);
      return step;
    case StepKind::residual:
      at.expect_only({"op"});
      return step;
    case StepKind::mix_initial:
      at.expect_only({"op", "by"});
      step.by = static_cast<float>(at["by"].number());
      if (!(step.by > 0.0f && step.by < 1.0f)) at["by"].reject("a number between 0 and 1");
      return step;
    case StepKind::activation: {
      at.expect_only({"op", "kind"});
      const auto activation = value_of(kActivationNames, at["kind"].string());
      if (!activation) at["kind"].reject("gelu, gelu_tanh, silu, relu or tanh");
      step.activation = *activation;
      return step;
    }
  }
  fail("ERR_INTERNAL", "Unknown step");
}

}  // namespace

bool mixes_initial(const PlanSteps& steps) {
  return std::any_of(steps.begin(), steps.end(),
                     [](const PlanStep& step) { return step.kind == StepKind::mix_initial; });
}

Shape parse_shape(const JsonAt& at) {
  if (at.size() < 1 || at.size() > 3) at.reject("one to three sizes");
  Shape shape;
  for (int64_t axis = 0; axis < at.size(); ++axis) shape.push_back(at.at(axis).integer(1, limits::kMaxIntermediate));
  return shape;
}

PlanConstants PlanConstants::parse(const JsonAt& plan, std::vector<float> values) {
  PlanConstants constants;
  int64_t count = 0;
  if (plan.has("constants")) {
    const JsonAt list = plan["constants"];
    for (int64_t i = 0; i < list.size(); ++i) {
      list.at(i).expect_only({"name", "shape"});
      constants.list.push_back({list.at(i)["name"].string(), parse_shape(list.at(i)["shape"]), count});
      count += element_count(constants.list.back().shape);
    }
  }
  require(static_cast<int64_t>(values.size()) == count, "ERR_ARGUMENT", "Expected ", count,
          " numbers for the plan's constants but received ", values.size());
  require(std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); }), "ERR_NOT_FINITE",
          "Expected finite numbers for the plan's constants");
  if (count > 0) constants.values = std::make_shared<std::vector<float>>(std::move(values));
  return constants;
}

Tensor PlanConstants::tensor(int32_t index) const {
  const Constant& own = list[static_cast<size_t>(index)];
  return Tensor::borrow(values, values->data() + own.offset, own.shape, DType::f32);
}

bool PlanConstants::operator==(const PlanConstants& other) const {
  if (list != other.list) return false;
  return values == other.values || (values && other.values && *values == *other.values);
}

int32_t PlanIndices::shared(const JsonAt& at, bool may_share) {
  size_t index = 0;
  if (at.json().is(JsonType::object)) {
    at.expect_only({"derived"});
    if (used_.size() == parameters_) at["derived"].reject("a plan with derived values");
    index = parameters_ +
            static_cast<size_t>(at["derived"].integer(0, static_cast<int64_t>(used_.size() - parameters_) - 1));
  } else {
    index = static_cast<size_t>(at.integer(0, static_cast<int64_t>(parameters_) - 1));
  }
  if (used_[index] || (shared_[index] && !may_share)) at.reject("a parameter or derived value that has no other place");
  if (may_share) shared_[index] = true;
  return static_cast<int32_t>(index);
}

bool PlanIndices::all() const {
  for (size_t i = 0; i < used_.size(); ++i)
    if (!used_[i] && !shared_[i]) return false;
  return true;
}

PlanSteps parse_steps(const JsonAt& site, const char* part, PlanIndices& indices, const PlanConstants& constants) {
  PlanSteps steps;
  if (!site.has(part)) return steps;
  const JsonAt list = site[part];
  if (list.size() < 1 || list.size() > kMostSteps) list.reject(concat("1 to ", kMostSteps, " steps"));
  for (int64_t i = 0; i < list.size(); ++i) steps.push_back(parse_step(list.at(i), indices, constants));
  return steps;
}

void require_widths(const PlanSteps& steps, int64_t inputs, int64_t outputs, int64_t hidden, const std::string& where,
                    const std::function<const Shape&(const PlanStep&, int32_t)>& shape_of) {
  if (steps.empty()) return;
  int64_t width = inputs;
  for (size_t i = 0; i < steps.size(); ++i) {
    const PlanStep& step = steps[i];
    const auto expect = [&](bool holds, const auto&... what) {
      require(holds, "ERR_SHAPE", "Expected ", what..., " for step ", i, " of ", where);
    };
    if (step.kind == StepKind::linear) {
      const Shape& shape = shape_of(step, step.weight);
      expect(shape.size() == 2 && shape[1] == width, "a matrix of ", width, " columns but received shape ",
             shape_text(shape));
      width = shape[0];
    } else if (step.kind == StepKind::block_linear) {
      const Shape& shape = shape_of(step, step.weight);
      expect(shape.size() == 3 && shape[0] * shape[2] == width, "blocks [n, out, in] with n * in = ", width,
             " but received shape ", shape_text(shape));
      width = shape[0] * shape[1];
    } else if (step.kind == StepKind::affine) {
      for (const int32_t vector : {step.scale, step.bias})
        if (vector >= 0)
          expect(shape_of({}, vector) == Shape{width}, "a vector of ", width, " but received shape ",
                 shape_text(shape_of({}, vector)));
    } else if (step.kind == StepKind::residual) {
      expect(width == inputs, "rows of ", inputs, ", as wide as the input, but received ", width);
    } else if (step.kind == StepKind::mix_initial) {
      expect(width == hidden, "rows of ", hidden, ", as wide as the embedding's, but received ", width);
    }
  }
  require(width == outputs, "ERR_SHAPE", "Expected steps that end with rows of ", outputs, " but received ", width,
          " for ", where);
}

std::shared_ptr<const SiteSteps> placed_steps(const PlanSteps& steps, const std::function<Var(int32_t)>& parameter,
                                              const std::function<Tensor(int32_t)>& constant) {
  if (steps.empty()) return nullptr;
  auto placed = std::make_shared<SiteSteps>();
  for (const PlanStep& step : steps) {
    SiteStep own;
    own.kind = step.kind;
    own.by = step.by;
    own.activation = step.activation;
    if (step.weight >= 0) own.weight = step.constant ? Var(constant(step.weight)) : parameter(step.weight);
    if (step.scale >= 0) own.scale = parameter(step.scale);
    if (step.bias >= 0) own.bias = parameter(step.bias);
    placed->push_back(std::move(own));
  }
  return placed;
}

}  // namespace rubricate
