// The tape: records differentiable ops with what their backward needs, and runs the backwards in reverse order.
//
// It prunes: an op none of whose inputs needs a gradient records nothing and saves nothing; so below the lowest edit of
// a model nothing is kept and nothing runs backward. What an op saved is released as soon as its backward has run.
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

  // arena: where every tensor of the ops recorded here is allocated.
  Tape(std::shared_ptr<Arena> arena, Mode mode);
  // Of a job: in its arena, with its cancellation flag, its yield and its observer.
  Tape(const JobControl& control, Mode mode);
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  uint64_t id() const { return id_; }
  bool training() const { return mode_ == Mode::training; }
  const std::shared_ptr<Arena>& arena() const { return arena_; }
  // Where the ops recorded here compute: null on the CPU. Their inputs lie there too.
  Stream* stream() const { return arena_->stream(); }
  Tensor empty(Shape shape, DType dtype) { return Tensor::empty(arena_, std::move(shape), dtype); }
  Tensor zeros(Shape shape, DType dtype) { return Tensor::zeros(arena_, std::move(shape), dtype); }
  // For a tape on a device: a copy there of the CPU's `bytes` (tokens, tables of pointers), aligned to 256. Hold it
  // until the kernels that read it are in the stream. What ops of one forward share: ops/shared/device_copies.h.
  Tensor upload(const void* data, int64_t bytes);

  // Ops call this first: stops an aborted job between two of them (throws ERR_ABORTED), and tells the observer what
  // begins.
  void set_cancel_flag(const std::atomic<bool>* flag) { cancel_ = flag; }
  void check_cancelled(const char* op = nullptr) const {
    if (cancel_ != nullptr && cancel_->load(std::memory_order_relaxed))
      fail("ERR_ABORTED", "The operation was aborted");
    if (observer_ && op != nullptr && !running_backward_) observer_(op, false);
  }
  // Called when an op's forward or backward begins, for profiles (bench/native/step.cc); ops that a backward is made of
  // belong to it and are not told.
  using Observer = JobControl::Observer;
  void set_observer(Observer observer) { observer_ = std::move(observer); }
  // Called between blocks, so that a long job lets shorter ones in.
  void set_yield(std::function<void()> yield) { yield_ = std::move(yield); }
  void yield() {
    check_cancelled();
    if (yield_) yield_();
  }

  // Whether an op with these inputs has to save anything for a backward. Throws ERR_FOREIGN for a value of another
  // tape.
  bool wants_grad(std::initializer_list<const GradSlot*> inputs) const;
  bool wants_grad(const Var& a) const { return wants_grad({a.slot().get()}); }
  bool wants_grad(const Var& a, const Var& b) const { return wants_grad({a.slot().get(), b.slot().get()}); }

  using Backward = std::function<void(Tape&, const Tensor& grad)>;
  using Backward2 = std::function<void(Tape&, const Tensor& grad0, const Tensor& grad1)>;
  // Call only where wants_grad() said so. `backward` gets the gradient of `out` (same shape and dtype).
  Var record(const char* op, Tensor out, Backward backward);
  // For an op with two outputs: a gradient is an undefined tensor where nothing used that output.
  std::pair<Var, Var> record2(const char* op, Tensor out0, Tensor out1, Backward2 backward);

  // Adds to a gradient; takes the tensor over where it is the first contribution. A null slot is ignored.
  // The sum is formed in fp32 and rounded once to the slot's dtype.
  void accumulate(const std::shared_ptr<GradSlot>& slot, Tensor grad);
  // The parameter's fp32 gradient, made zero on first use, for kernels that add to it in place.
  Tensor& parameter_grad(const std::shared_ptr<GradSlot>& slot);

  // Runs `block` without keeping what it saves; backward runs it again (same kernels, same bits) and then backward
  // through it. `inputs` are the values that flow in; parameters are reached as they are. One or two outputs.
  using Block = std::function<std::pair<Var, Var>(Tape&, const std::vector<Var>& inputs)>;
  std::pair<Var, Var> recompute(const std::vector<Var>& inputs, Block block, bool trains);

  // Runs the tape backward from `loss` with `seed` (a tensor like it; a missing one means a scalar 1) and clears it.
  void backward(const Var& loss, Tensor seed = {});
  void clear();
  int64_t recorded() const { return static_cast<int64_t>(nodes_.size()); }

 private:
  struct Node {
    const char* op;
    std::shared_ptr<GradSlot> out0, out1;
    Backward2 backward;
  };
  // A tape within a job's: for a block that runs apart, with everything of the job's but what is recorded.
  Tape(const Tape& outer, Mode mode);
  std::shared_ptr<GradSlot> new_slot(const Tensor& out) const;
  // Copies a gradient that has another holder, who must not see what is added to it.
  void own_grad(GradSlot& slot);
  void run_backward();

  const uint64_t id_;
  std::shared_ptr<Arena> arena_;
  Mode mode_;
  const std::atomic<bool>* cancel_ = nullptr;
  std::function<void()> yield_;
  Observer observer_;
  bool running_backward_ = false;
  std::vector<Node> nodes_;
};

}  // namespace rubricate
