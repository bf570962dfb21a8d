// The update of a parameter by an optimizer step, and the check that its result is finite, before anything is updated.
#pragma once

#include <memory>

#include "train/train_step.h"

namespace rubricate {

// What clipping scales a gradient of that norm by.
float gradient_scale(const Tenant& tenant, double norm);

struct UpdatedTensors {
  Tensor value, m, v;
};
// AdamW's update of a parameter with its gradient, by the tenant's options and the parameter's rule of decay. tensors: its
// master and moments, or copies of them.
void parameter_update(const Tenant& tenant, const Parameter& parameter, const UpdatedTensors& tensors, float scale);

// Throws ERR_NOT_FINITE, naming the parameter, if AdamW's update would make a parameter or a moment infinite or NaN.
// For almost every step, bounds on the parameters and moments show that it does not; the optimizer's state keeps them
// from step to step. |m / (1 - b1^t)| is at most the largest gradient of all steps / (1 - b1^t), and the denominator is
// at least eps. Otherwise the update is computed on copies first, one parameter at a time.
// trained: the tenant's parameters on the step's device. norm: of the gradient, before clipping. arena: on that device.
void require_finite_update(const Tenant& tenant, ParameterSet& trained, double norm,
                           const std::shared_ptr<Arena>& arena);

}  // namespace rubricate
