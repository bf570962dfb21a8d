// Whether an optimizer step's result is finite, known before anything is updated.
#pragma once

#include <memory>

#include "train/train_step.h"

namespace rubricate {

// Throws ERR_NOT_FINITE, naming the parameter, where AdamW's update would leave a parameter or a moment that is not finite.
// Bounds on the parameters and moments, which the optimizer's state keeps from step to step, show for almost every step
// that it cannot: |m / (1 - b1^t)| is at most the largest gradient of all steps / (1 - b1^t), and the denominator at least eps.
// Otherwise the update is computed on copies first, one parameter at a time.
// trained: the tenant's parameters where the step computes. norm: the gradient's, before clipping. arena: of that place.
void require_finite_update(const Tenant& tenant, ParameterSet& trained, double norm,
                           const std::shared_ptr<Arena>& arena);

}  // namespace rubricate
