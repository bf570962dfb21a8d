#include "ops/swiglu/swiglu.h"

#include "ops/shared/checks.h"
#include "ops/shared/launch.h"
#include "ops/swiglu/swiglu_kernels.h"

namespace rubricate {
namespace {

constexpr int64_t kGrain = kElementGrain / 4;  // the exponential costs more than the element's memory traffic

}  // namespace

Var swiglu(Tape& tape, const Var& gate, const Var& up) {
  tape.check_cancelled("swiglu");
  require_floating(gate.value(), "gate");
  require_like(up.value(), gate.value(), "up");
  require_place(tape, gate.value(), "gate");
  require_place(tape, up.value(), "up");
  const bool wanted = tape.wants_grad(gate, up);
  const Tensor &x = gate.value(), &u = up.value();
  Tensor y = tape.empty(x.shape(), x.dtype());
  launch_ranges(tape.stream(), "swiglu_forward/1", swiglu_forward_cpu,
                SwigluArgs{.dtype = x.dtype(), .gate = x.raw(), .up = u.raw(), .y = y.raw(), .end = x.count()}, kGrain);
  if (!wanted) return y;
  return tape.record("swiglu", std::move(y),
                     [x, u, gate_slot = gate.slot(), up_slot = up.slot()](Tape& tape, const Tensor& grad) {
                       const Tensor dgate = gate_slot ? tape.empty(x.shape(), x.dtype()) : Tensor();
                       const Tensor dup = up_slot ? tape.empty(x.shape(), x.dtype()) : Tensor();
                       launch_ranges(tape.stream(), "swiglu_backward/1", swiglu_backward_cpu,
                                     SwigluArgs{.dtype = x.dtype(),
                                                .gate = x.raw(),
                                                .up = u.raw(),
                                                .grad = grad.raw(),
                                                .dgate = dgate.raw(),
                                                .dup = dup.raw(),
                                                .end = x.count()},
                                     kGrain);
                       tape.accumulate(gate_slot, dgate);
                       tape.accumulate(up_slot, dup);
                     });
}

}  // namespace rubricate
