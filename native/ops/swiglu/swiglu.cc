#include "ops/swiglu/swiglu.h"

#include "device/cpu/thread_pool.h"
#include "device/stream.h"
#include "ops/shared/checks.h"
#include "ops/swiglu/swiglu_cpu.h"

namespace rubricate {
namespace {

constexpr int64_t kGrain = kElementGrain / 4;  // the exponential makes an element dearer than its memory

using Kernel = void (*)(const SwigluArgs&);

// args.end: how many elements there are.
void run(const Tape& tape, const char* cuda_kernel, Kernel cpu_kernel, const SwigluArgs& args) {
  if (Stream* stream = tape.stream()) return stream->run(cuda_kernel, args);
  parallel_ranges(args.end, kGrain, [cpu_kernel, &args](int64_t begin, int64_t end) {
    SwigluArgs range = args;  // one for each range: ranges run at the same time
    range.begin = begin;
    range.end = end;
    cpu_kernel(range);
  });
}

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
  SwigluArgs args;
  args.dtype = x.dtype();
  args.gate = x.raw();
  args.up = u.raw();
  args.y = y.raw();
  args.end = x.count();
  run(tape, "swiglu_forward/1", swiglu_forward_cpu, args);
  if (!wanted) return y;
  return tape.record("swiglu", std::move(y),
                     [x, u, gate_slot = gate.slot(), up_slot = up.slot()](Tape& tape, const Tensor& grad) {
                       const Tensor dgate = gate_slot ? tape.empty(x.shape(), x.dtype()) : Tensor();
                       const Tensor dup = up_slot ? tape.empty(x.shape(), x.dtype()) : Tensor();
                       SwigluArgs args;
                       args.dtype = x.dtype();
                       args.gate = x.raw();
                       args.up = u.raw();
                       args.grad = grad.raw();
                       args.dgate = dgate.raw();
                       args.dup = dup.raw();
                       args.end = x.count();
                       run(tape, "swiglu_backward/1", swiglu_backward_cpu, args);
                       tape.accumulate(gate_slot, dgate);
                       tape.accumulate(up_slot, dup);
                     });
}

}  // namespace rubricate
