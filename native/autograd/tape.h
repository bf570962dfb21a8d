// The tape: records differentiable ops and what their backward needs, and runs the backwards in reverse order.
//
// An op records and saves nothing unless one of its inputs needs a gradient. So nothing is kept or run backward below
// the lowest edit of a model. What an op saved is released as soon as its backward has run.
//
// An op looks like this (ops/swiglu/swiglu.cc):
//
//   Var swiglu(Tape& tape, const Var& gate, const Var& up) {
//     tape.check_cancelled("swiglu");
//     ... check shapes, dtypes and places ...
//     const bool wanted = tape.wants_grad(gate, up);
//     Tensor out = tape.empty(gate.value().shape(), gate.value().dtype());
//     launch_ranges(tape.stream(), "swiglu_forward/1", swiglu_forward_cpu, args, grain);  // fills out
//     if (!wanted) return out;
//     return tape.record("swiglu", std::move(out), [saved = ..., slots = ...](Tape& tape, const Tensor& grad) {
//       Tensor dgate = tape.empty(...), dup = tape.empty(...);
//       ... fill both ...
//       tape.accumulate(gate_slot, std::move(dgate));
//       tape.accumulate(up_slot, std::move(dup));
//     });
//   }
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "autograd/var.h"
#include "runtime/job_control.h"
#include "tensor/tensor.h"

namespace rubricate {

class Tape {
 public:
  enum class Mode { inference, training };

  // arena: allocates all tensors of the ops recorded here.
  Tape(std::shared_ptr<Arena> arena, Mode mode);
  // The tape of a job: uses the job's arena, cancellation flag, yield and observer.
  Tape(const JobControl& control, Mode mode);
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  uint64_t id() const { return id_; }
  bool training() const { return mode_ == Mode::training; }
  const std::shared_ptr<Arena>& arena() const { return arena_; }
  // The stream of the device that the recorded ops run on; null on the CPU. Their inputs are in the same memory.
  Stream* stream() const { return arena_->stream(); }
  Tensor empty(Shape shape, DType dtype) { return Tensor::empty(arena_, std::move(shape), dtype); }
  Tensor zeros(Shape shape, DType dtype) { return Tensor::zeros(arena_, std::move(shape), dtype); }
  // For a tape on a device: copies `bytes` of host memory (tokens, tables of pointers) to the device, aligned to 256.
  // Keep the copy until the kernels that read it are queued. Ops of one forward share copies:
  // ops/shared/device_copies.h.
  Tensor upload(const void* data, int64_t bytes);

  // Every op calls this first. Throws ERR_ABORTED if the job was cancelled, and reports the op's name to the observer.
  void set_cancel_flag(const std::atomic<bool>* flag) { cancel_ = flag; }
  void check_cancelled(const char* op = nullptr) const {
    if (cancel_ != nullptr && cancel_->load(std::memory_order_relaxed))
      fail("ERR_ABORTED", "The operation was aborted");
    if (observer_ && op != nullptr && !running_backward_) observer_(op, false);
  }
  // Called when an op's forward or backward begins, for profiles (bench/native/step.cc). The ops that run inside a
  // backward count as part of it and are not reported.
  using Observer = JobControl::Observer;
  void set_observer(Observer observer) { observer_ = std::move(observer); }
  // Called between blocks, between the backwards of ops, and within large ops, so that a long job can let shorter ones run.
  // They run on this thread: what an op has in the thread's own memory (ops/shared/scratch.h) is lost.
  void set_yield(std::function<void()> yield) { yield_ = std::move(yield); }
  void yield() const {
    check_cancelled();
    if (yield_) yield_();
  }
  // Whether shorter jobs are under way, so that a large op should yield within: see JobControl.
  void set_wanted(std::function<bool()> wanted) { wanted_ = std::move(wanted); }
  bool wanted() const { return wanted_ && wanted_(); }

  // Whether an op with these inputs must save anything for a backward. Throws ERR_FOREIGN for a value of another tape.
  bool wants_grad(std::initializer_list<const GradSlot*> inputs) const;
  bool wants_grad(const Var& a) const { return wants_grad({a.slot().get()}); }
  bool wants_grad(const Var& a, const Var& b) const { return wants_grad({a.slot().get(), b.slot().get()}); }

  using Backward = std::function<void(Tape&, const Tensor& grad)>;
  using Backward2 = std::function<void(Tape&, const Tensor& grad0, const Tensor& grad1)>;
  // Call only if wants_grad() returned true. `backward` receives the gradient of `out` (same shape and dtype).
  Var record(const char* op, Tensor out, Backward backward);
  // For an op with two outputs. The gradient of an unused output is an undefined tensor.
  std::pair<Var, Var> record2(const char* op, Tensor out0, Tensor out1, Backward2 backward);

  // Adds to a gradient; the first contribution is moved in, not copied. A null slot is ignored. The sum is computed in
  // fp32 and rounded once to the slot's dtype.
  void accumulate(const std::shared_ptr<GradSlot>& slot, Tensor grad);
  // The parameter's fp32 gradient, zero-filled on first use, for kernels that add to it in place.
  Tensor& parameter_grad(const std::shared_ptr<GradSlot>& slot);

  // Activation checkpointing: runs `block` without keeping what it saves; the backward runs it again (same kernels,
  // same bits) and then differentiates it. `inputs` are the values that flow in; parameters need not be listed. One or
  // two outputs.
  using Block = std::function<std::pair<Var, Var>(Tape&, const std::vector<Var>& inputs)>;
  std::pair<Var, Var> recompute(const std::vector<Var>& inputs, Block block, bool trains);

  // Runs the backward pass from `loss` with the gradient `seed` (same shape and dtype as loss; default: a scalar 1) and
  // clears the tape.
  void backward(const Var& loss, Tensor seed = {});
  void clear();
  int64_t recorded() const { return static_cast<int64_t>(nodes_.size()); }

 private:
  struct Node {
    const char* op;
    std::shared_ptr<GradSlot> out0, out1;
    Backward2 backward;
  };
  // A nested tape for recomputing a block: it shares everything of the job except the recorded ops.
  Tape(const Tape& outer, Mode mode);
  std::shared_ptr<GradSlot> new_slot(const Tensor& out) const;
  // Copies a gradient that is shared, so that the other holder does not see what is added to it.
  void own_grad(GradSlot& slot);
  void run_backward();

  const uint64_t id_;
  std::shared_ptr<Arena> arena_;
  Mode mode_;
  const std::atomic<bool>* cancel_ = nullptr;
  std::function<void()> yield_;
  std::function<bool()> wanted_;
  Observer observer_;
  bool running_backward_ = false;
  std::vector<Node> nodes_;
};

}  // namespace rubricate
