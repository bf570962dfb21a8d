// How much each number of a model's matrices changes the loss of examples: what some methods choose their parameters by.
#pragma once

#include <functional>
#include <vector>

#include "model/model.h"
#include "runtime/job_control.h"
#include "tensor/tensor.h"
#include "train/micro_batch.h"

namespace rubricate {

// A linear layer's matrix.
struct MatrixSite {
  int64_t layer = 0;
  Site site = Site::down_proj;
};

// For each matrix, the sum over the steps of the squares of its gradient, fp32: the gradient of the step's loss, the mean over the supervised
// tokens of its micro-batches, as train_step computes it. The model itself is not changed. Needs two fp32 numbers for each one of these
// matrices, of which the gradient is on the model's device. new_sum: memory on the CPU, which it fills.
// Errors: ERR_ARGUMENT (a site that the model lacks or that is a norm); ERR_DATA (a step without supervised tokens); ERR_NOT_FINITE
// (a step's loss, or a sum); ERR_FOREIGN, ERR_ABORTED, ERR_OUT_OF_MEMORY, ERR_DEVICE_LOST.
std::vector<Tensor> squared_gradients(const Model& model, const std::vector<MatrixSite>& sites,
                                      const std::vector<std::vector<MicroBatch>>& steps,
                                      const std::function<Tensor(const Shape&)>& new_sum, const JobControl& control);

}  // namespace rubricate
