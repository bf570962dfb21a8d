// The gradient of a nuclear norm that a run adds to its loss: of the trained entries of one sparse update's matrix a step.
#pragma once

#include "adapter/adapter.h"
#include "optimizer/optimizer_state.h"
#include "runtime/job_control.h"
#include "tensor/tensor.h"

namespace rubricate {

// The polar factor U V^T of a matrix U S V^T, the gradient of its nuclear norm; fp32 [rows, cols], in and out in CPU memory. By Newton-Schulz
// iterations on the job's device: ten of the quintic of Jordan et al. (Muon, 2024), which bring singular values from 4e-6 of the matrix's
// Frobenius norm near 1, and five of the cubic, which converge to it. Smaller singular values give less than 1, zeros 0.
// Errors: ERR_ABORTED, ERR_OUT_OF_MEMORY, ERR_DEVICE_LOST.
Tensor polar_factor(const Tensor& matrix, const JobControl& control);

// Adds state.nuclear.factor times the gradient of the norm to the adapter's own gradient, for the step that follows. The matrix has the
// adapted values, base + value, of the entries that are not frozen, and is otherwise zero. Which of the plan's sparse updates: a random number of
// (seed, step). Does nothing without a factor. Errors: as polar_factor.
void add_nuclear_gradient(Adapter& adapter, const OptimizerState& state, const JobControl& control);

}  // namespace rubricate
