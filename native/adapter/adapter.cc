#include "adapter/adapter.h"

#include <algorithm>

namespace rubricate {

Adapter::Adapter(const Architecture& architecture, AdapterPlan plan) {
  plan.require_fits(architecture);
  plan_ = shared_plan(std::move(plan));
  const auto arena = std::make_shared<Arena>();
  values_ = Tensor::zeros(arena, {plan_->count}, DType::f32);
  gradients_ = Tensor::zeros(arena, {plan_->count}, DType::f32);
  make_parameters();
  for (const Parameter& parameter : parameters_)
    std::fill_n(parameter.master.data<float>(), parameter.master.count(), parameter.decay_target);
}

Adapter::Adapter(const Adapter& other, const std::shared_ptr<Arena>& arena, bool gradients)
    : plan_(other.plan_), values_(other.values_.copied_to(arena)) {
  if (gradients) gradients_ = Tensor::zeros(arena, values_.shape(), DType::f32);
  make_parameters();
}

void Adapter::make_parameters() {
  for (const AdapterPlan::Parameter& own : plan_->parameters) {
    Var var = Var::parameter(values_.part(own.offset, own.shape));
    if (gradients_.defined()) {
      var.slot()->grad = gradients_.part(own.offset, own.shape);
      var.slot()->in_place = true;
    }
    parameters_.push_back({own.name, var.value(), var.slot()->grad, own.start, own.decays, {}});
    vars_.push_back(std::move(var));
  }
}

}  // namespace rubricate
