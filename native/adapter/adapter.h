// An adapter: the parameters of a plan (adapter/plan.h). An adapter's own memory is always CPU memory. A batch on a
// device has a device copy, which a training step updates and downloads.
//
// The download happens after each step, not on demand: the 262,144 values of RED for a 7B model are 1 MiB, 4 MiB with
// gradients and both moments, which takes 0.2 ms over PCIe 4.0 after a step of 100 ms or more. So the CPU values are
// always current between steps, JavaScript's thread never waits for a device, and a lost device loses no values.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "adapter/plan.h"
#include "architecture/architecture.h"
#include "autograd/var.h"
#include "optimizer/parameter.h"

namespace rubricate {

class Adapter : public ParameterSet {
 public:
  // Each parameter is filled with its `start`. Errors: ERR_ARGUMENT, ERR_SHAPE (a plan for another model).
  Adapter(const Architecture& architecture, AdapterPlan plan);
  // A copy of the values in that arena's memory, with gradients of 0 if requested.
  Adapter(const Adapter& other, const std::shared_ptr<Arena>& arena, bool gradients);

  std::vector<Parameter>& parameters() override { return parameters_; }
  Parameter whole() override { return {"", values_, gradients_, 0.0f, true, {}}; }
  const std::shared_ptr<const AdapterPlan>& plan() const { return plan_; }
  // The value of a plan's parameter, with its gradient; undefined for -1.
  Var var(int32_t index) const { return index < 0 ? Var() : vars_[static_cast<size_t>(index)]; }
  // All parameters, concatenated in the order of parameters(), and their gradients: fp32 [plan()->count].
  const Tensor& values() const { return values_; }
  const Tensor& gradients() const { return gradients_; }
  void changed() override { ++version_; }
  int64_t version() const { return version_; }  // changes whenever the values do

 private:
  void make_parameters();

  std::shared_ptr<const AdapterPlan> plan_;
  int64_t version_ = 0;
  std::vector<Var> vars_;
  std::vector<Parameter> parameters_;
  Tensor values_, gradients_;
};

}  // namespace rubricate
