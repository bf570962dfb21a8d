#include "ops/gelu/gelu.h"

#include "ops/shared/checks.h"
#include "ops/shared/launch.h"

namespace rubricate {
namespace {

constexpr int64_t kGrain = kElementGrain / 4;  // the exponential costs more than the element's memory traffic

}  // namespace

Var gelu(Tape& tape, const Var& x, GeluKind kind) {
  tape.check_cancelled("gelu");
  const Tensor& value = x.value();
  require_floating(value, "x");
  require_place(tape, value, "x");
  const bool wanted = tape.wants_grad(x);
  Tensor y = tape.empty(value.shape(), value.dtype());
  launch_ranges(tape.stream(), "gelu_forward/1", gelu_forward_cpu,
                GeluArgs{.dtype = value.dtype(), .kind = kind, .x = value.raw(), .y = y.raw(), .end = value.count()},
                kGrain);
  if (!wanted) return y;
  return tape.record("gelu", std::move(y), [value, kind, slot = x.slot()](Tape& tape, const Tensor& grad) {
    const Tensor dx = tape.empty(value.shape(), value.dtype());
    launch_ranges(tape.stream(), "gelu_backward/1", gelu_backward_cpu,
                  GeluArgs{.dtype = value.dtype(),
                           .kind = kind,
                           .x = value.raw(),
                           .grad = grad.raw(),
                           .dx = dx.raw(),
                           .end = value.count()},
                  kGrain);
    tape.accumulate(slot, dx);
  });
}

}  // namespace rubricate
