// Products of few rows with a matrix of the base, W [outputs, inputs], for derived values (adapter/plan_derived.h, weight_product):
//
//   along inputs    p [r, outputs] = d [r, inputs] W^T     dd = dp W
//   along outputs   p [r, inputs]  = d [r, outputs] W      dd = dp W^T
//
// In fp32, with the matmul of ops/linear, where the model computes: W is read in place, in its own dtype, and only d and p move between
// host and device. So the bits do not depend on the number of threads.
#pragma once

#include "adapter/base_weights.h"
#include "adapter/plan_derived.h"
#include "autograd/tape.h"
#include "runtime/job_control.h"

namespace rubricate {

class WeightProducts {
 public:
  WeightProducts() = default;  // for plans without such values
  // weights: must outlive this object. control: the job's; its arena is where the model computes.
  WeightProducts(const BaseWeights* weights, JobControl control) : weights_(weights), control_(std::move(control)) {}
  // own: a weight_product. d, p: in host memory; p is not transposed. Lets shorter jobs run first. Errors: ERR_ABORTED.
  void product(const PlanDerived& own, int64_t rows, const float* d, float* p) const;
  // The gradient of d from that of p. The job's flag is not looked at: a step that has run its last backward is finished.
  void backward(const PlanDerived& own, int64_t rows, const float* dp, float* dd) const;

 private:
  void multiply(Tape& tape, const PlanDerived& own, int64_t rows, const float* from, bool along_inputs,
                float* to) const;

  const BaseWeights* weights_ = nullptr;
  JobControl control_;
};

}  // namespace rubricate
