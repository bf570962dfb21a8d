#include "ops/rms_norm/rms_norm.h"

#include "device/cpu/thread_pool.h"
#include "device/stream.h"
#include "ops/rms_norm/rms_norm_cpu.h"
#include "ops/rms_norm/rms_norm_weight.h"
#include "ops/row_sums/row_sums.h"
#include "ops/shared/checks.h"

namespace rubricate {
namespace {

// all.end: how many rows there are.
void run(const Tape& tape, const char* cuda_kernel, void (*kernel)(const RmsNormArgs&), const RmsNormArgs& all) {
  if (Stream* stream = tape.stream()) return stream->run(cuda_kernel, all);
  parallel_ranges(all.end, row_grain(all.cols), [&](int64_t begin, int64_t end) {
    RmsNormArgs args = all;
    args.begin = begin;
    args.end = end;
    kernel(args);
  });
}

}  // namespace

Var rms_norm(Tape& tape, const Var& x, const Var& weight, float eps) {
  tape.check_cancelled("rms_norm");
  const Tensor& value = x.value();
  require_floating(value, "x");
  require_vector(weight.value(), value.cols(), "weight");
  require_place(tape, value, "x");
  require_place(tape, weight.value(), "weight");
  const bool wanted = tape.wants_grad(x, weight);
  Tensor y = tape.empty(value.shape(), value.dtype());
  const Tensor inv = wanted ? tape.empty({value.rows()}, DType::f32) : Tensor();
  RmsNormArgs args;
  args.dtype = value.dtype();
  args.cols = value.cols();
  args.x = value.raw();
  args.weight = weight.value().data<float>();
  args.eps = eps;
  args.inv = static_cast<float*>(inv.raw());
  args.y = y.raw();
  args.end = value.rows();
  run(tape, "rms_norm_forward/1", rms_norm_forward_cpu, args);
  if (!wanted) return y;
  return tape.record(
      "rms_norm", std::move(y),
      [value, inv, w = weight.value(), x_slot = x.slot(), weight_slot = weight.slot()](Tape& tape, const Tensor& grad) {
        if (weight_slot) accumulate_rms_norm_weight(tape, weight_slot, value, inv, grad);
        if (!x_slot) return;
        const Tensor dx = tape.empty(value.shape(), value.dtype());
        RmsNormArgs args;
        args.dtype = value.dtype();
        args.cols = value.cols();
        args.x = value.raw();
        args.weight = w.data<float>();
        args.inv = inv.data<float>();
        args.grad = grad.raw();
        args.dx = dx.raw();
        args.end = value.rows();
        run(tape, "rms_norm_backward/1", rms_norm_backward_cpu, args);
        tape.accumulate(x_slot, dx);
      });
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
