// Activations in double, for derived values (adapter/derived.h). Formulas: torch.nn.functional.
#pragma once

#include "ops/steps/steps.h"

namespace rubricate {

double activated(Activation activation, double x);
// Its derivative at x.
double slope(Activation activation, double x);

}  // namespace rubricate
