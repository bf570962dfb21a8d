#include "adapter/parameter.h"

#include <cstring>

namespace rubricate {

void ParameterSet::zero_grad() {
  for (Parameter& parameter : parameters())
    std::memset(parameter.grad.raw(), 0, static_cast<size_t>(parameter.grad.bytes()));
}

int64_t ParameterSet::count() {
  int64_t count = 0;
  for (const Parameter& parameter : parameters()) count += parameter.master.count();
  return count;
}

}  // namespace rubricate
