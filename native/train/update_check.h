// Checks that the result of an optimizer step is finite, before anything is updated.
#pragma once

#include <memory>

#include "train/train_step.h"

namespace rubricate {

// Throws ERR_NOT_FINITE, naming the parameter, if AdamW's update would make a parameter or a moment infinite or NaN.
// For almost every step, bounds on the parameters and moments show that it does not; the optimizer's state keeps them
// from step to step. |m / (1 - b1^t)| is at most the largest gradient of all steps / (1 - b1^t), and the denominator is
// at least eps. Otherwise the update is computed on copies first, one parameter at a time.
// trained: the tenant's parameters on the step's device. norm: of the gradient, before clipping. arena: on that device.
void require_finite_update(const Tenant& tenant, ParameterSet& trained, double norm,
                           const std::shared_ptr<Arena>& arena);

}  // namespace rubricate
