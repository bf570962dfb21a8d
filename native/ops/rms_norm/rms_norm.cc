#include "ops/rms_norm/rms_norm.h"

#include "ops/rms_norm/rms_norm_kernels.h"
#include "ops/row_sums/row_sums.h"
#include "ops/shared/checks.h"
#include "ops/shared/launch.h"

namespace rubricate {
namespace {

// value: x, reshaped so that each row is normed.
Var norm_rows(Tape& tape, const Var& x, const Tensor& value, const Var& weight, float eps) {
  require_place(tape, value, "x");
  require_place(tape, weight.value(), "weight");
  const bool wanted = tape.wants_grad(x, weight);
  Tensor y = tape.empty(x.value().shape(), value.dtype());
  const Tensor inv = wanted ? tape.empty({value.rows()}, DType::f32) : Tensor();
  launch_rows(tape.stream(), "rms_norm_forward/1", rms_norm_forward_cpu,
              RmsNormArgs{.dtype = value.dtype(),
                          .cols = value.cols(),
                          .end = value.rows(),
                          .x = value.raw(),
                          .weight = weight.value().data<float>(),
                          .eps = eps,
                          .inv = static_cast<float*>(inv.raw()),
                          .y = y.raw()});
  if (!wanted) return y;
  return tape.record(
      "rms_norm", std::move(y),
      [value, inv, w = weight.value(), x_slot = x.slot(), weight_slot = weight.slot()](Tape& tape, const Tensor& grad) {
        if (weight_slot) accumulate_rms_norm_weight(tape, weight_slot, value, inv, grad.reshaped(value.shape()));
        if (!x_slot) return;
        const Tensor dx = tape.empty(grad.shape(), value.dtype());
        launch_rows(tape.stream(), "rms_norm_backward/1", rms_norm_backward_cpu,
                    RmsNormArgs{.dtype = value.dtype(),
                                .cols = value.cols(),
                                .end = value.rows(),
                                .x = value.raw(),
                                .weight = w.data<float>(),
                                .inv = inv.data<float>(),
                                .grad = grad.raw(),
                                .dx = dx.raw()});
        tape.accumulate(x_slot, dx);
      });
}

}  // namespace

Var rms_norm(Tape& tape, const Var& x, const Var& weight, float eps) {
  tape.check_cancelled("rms_norm");
  require_floating(x.value(), "x");
  require_vector(weight.value(), x.value().cols(), "weight");
  return norm_rows(tape, x, x.value(), weight, eps);
}

Var head_norm(Tape& tape, const Var& x, const Var& weight, float eps) {
  tape.check_cancelled("head_norm");
  const Tensor& value = x.value();
  require_floating(value, "x");
  const int64_t width = weight.value().count();
  require_vector(weight.value(), width, "weight");
  require(width > 0 && value.cols() % width == 0, "ERR_SHAPE", "Expected a divisor of ", value.cols(),
          " (the columns of x) for the length of weight but received ", width);
  return norm_rows(tape, x, value.reshaped({value.count() / width, width}), weight, eps);
}

void accumulate_rms_norm_weight(Tape& tape, const std::shared_ptr<GradSlot>& weight, const Tensor& x, const Tensor& inv,
                                const Tensor& grad) {
  RowSums sums;
  sums.x = x;
  sums.grad = grad;
  sums.inv = inv.data<float>();
  sums.products = {nullptr, tape.parameter_grad(weight).data<float>()};
  sums.plain = {nullptr, nullptr};
  const int32_t starts[2] = {0, static_cast<int32_t>(x.rows())}, slot = 1;
  accumulate_row_sums(tape, sums, {x.rows(), 1, starts, &slot});
}

}  // namespace rubricate
