#include "optimizer/parameter.h"

namespace rubricate {

void ParameterSet::zero_grad() {
  for (const Parameter& parameter : parameters()) set_zero(parameter.grad);
}

int64_t ParameterSet::count() {
  int64_t count = 0;
  for (const Parameter& parameter : parameters()) count += parameter.master.count();
  return count;
}

}  // namespace rubricate
