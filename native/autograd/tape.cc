#include "autograd/tape.h"

#include "device/stream.h"
#include "tensor/add_in_place.h"

namespace rubricate {
namespace {

uint64_t next_tape_id() {
  static std::atomic<uint64_t> id{0};
  return ++id;
}

}  // namespace

Tape::Tape(std::shared_ptr<Arena> arena, Mode mode) : id_(next_tape_id()), arena_(std::move(arena)), mode_(mode) {}

Tape::Tape(const JobControl& control, Mode mode) : Tape(control.arena, mode) {
  cancel_ = control.cancelled;
  yield_ = control.yield;
  wanted_ = control.wanted;
  observer_ = control.observer;
}

Tape::Tape(const Tape& outer, Mode mode) : Tape(outer.arena_, mode) {
  cancel_ = outer.cancel_;
  yield_ = outer.yield_;
  wanted_ = outer.wanted_;
  observer_ = outer.observer_;
}

Tensor Tape::upload(const void* data, int64_t bytes) {
  const Tensor copy = Tensor::empty(arena_, {(bytes + 3) / 4}, DType::i32);
  stream()->upload(copy.raw(), data, bytes);
  return copy;
}

bool Tape::wants_grad(std::initializer_list<const GradSlot*> inputs) const {
  bool wanted = false;
  for (const GradSlot* slot : inputs) {
    if (slot == nullptr) continue;
    require(slot->tape == 0 || slot->tape == id_, "ERR_FOREIGN",
            "Expected values of this tape but received one of another");
    wanted = true;
  }
  return wanted && training();
}

std::shared_ptr<GradSlot> Tape::new_slot(const Tensor& out) const {
  auto slot = std::make_shared<GradSlot>();
  slot->dtype = out.dtype();
  slot->shape = out.shape();
  slot->tape = id_;
  return slot;
}

Var Tape::record(const char* op, Tensor out, Backward backward) {
  auto slot = new_slot(out);
  nodes_.push_back({op, slot, nullptr, [backward = std::move(backward)](Tape& tape, const Tensor& grad, const Tensor&) {
                      backward(tape, grad);
                    }});
  return {std::move(out), std::move(slot)};
}

std::pair<Var, Var> Tape::record2(const char* op, Tensor out0, Tensor out1, Backward2 backward) {
  auto slot0 = new_slot(out0);
  auto slot1 = out1.defined() ? new_slot(out1) : nullptr;
  nodes_.push_back({op, slot0, slot1, std::move(backward)});
  return {Var(std::move(out0), std::move(slot0)), Var(std::move(out1), std::move(slot1))};
}

void Tape::own_grad(GradSlot& slot) {
  if (slot.in_place || slot.grad.sole_owner()) return;
  slot.grad = slot.grad.copied_to(arena_);
}

void Tape::accumulate(const std::shared_ptr<GradSlot>& slot, Tensor grad) {
  if (!slot) return;
  require(grad.shape() == slot->shape, "ERR_INTERNAL", "Expected a gradient of shape ", shape_text(slot->shape),
          " but received ", shape_text(grad.shape()));
  require(grad.dtype() == slot->dtype, "ERR_INTERNAL", "Expected a gradient of ", dtype_name(slot->dtype),
          " but received ", dtype_name(grad.dtype()));
  if (!slot->grad.defined()) {
    slot->grad = std::move(grad);
    return;
  }
  own_grad(*slot);
  add_in_place(slot->grad, grad);
}

Tensor& Tape::parameter_grad(const std::shared_ptr<GradSlot>& slot) {
  if (!slot->grad.defined()) slot->grad = zeros(slot->shape, DType::f32);
  own_grad(*slot);
  return slot->grad;
}

std::pair<Var, Var> Tape::recompute(const std::vector<Var>& inputs, Block block, bool trains) {
  bool wanted = trains && training();
  for (const Var& input : inputs) wanted = wants_grad(input) || wanted;
  if (!wanted) return block(*this, inputs);

  std::vector<Var> plain;
  for (const Var& input : inputs) plain.emplace_back(input.value());
  Tape forward(*this, Mode::inference);
  auto [out0, out1] = block(forward, plain);
  return record2("recompute", out0.value(), out1.value(),
                 [inputs, block = std::move(block)](Tape& tape, const Tensor& grad0, const Tensor& grad1) {
                   Tape inner(tape, Mode::training);
                   std::vector<Var> leaves;
                   for (const Var& input : inputs)
                     leaves.emplace_back(input.value(),
                                         input.requires_grad() ? inner.new_slot(input.value()) : nullptr);
                   {
                     auto [again0, again1] = block(inner, leaves);
                     if (grad0.defined()) inner.accumulate(again0.slot(), grad0);
                     if (grad1.defined()) inner.accumulate(again1.slot(), grad1);
                   }
                   inner.run_backward();
                   for (size_t i = 0; i < inputs.size(); ++i)
                     if (leaves[i].grad().defined()) tape.accumulate(inputs[i].slot(), leaves[i].grad());
                 });
}

void Tape::backward(const Var& loss, Tensor seed) {
  require(training(), "ERR_STATE", "Expected a tape in training mode for backward");
  require(loss.requires_grad() && loss.slot()->tape == id_, "ERR_FOREIGN",
          "Expected a value that this tape recorded and that depends on a parameter for loss");
  if (!seed.defined()) {
    require(loss.value().count() == 1 && loss.value().dtype() == DType::f32, "ERR_SHAPE",
            "Expected a float32 scalar for loss but received ", shape_text(loss.value().shape()));
    const float one = 1.0f;
    seed = Tensor::from_host(arena_, loss.value().shape(), DType::f32, &one);
  }
  accumulate(loss.slot(), std::move(seed));
  run_backward();
}

void Tape::run_backward() {
  struct Reset {  // runs on errors too, so that the tape can be used again after a backward that throws
    bool& running;
    ~Reset() { running = false; }
  } reset{running_backward_ = true};
  while (!nodes_.empty()) {
    Node node = std::move(nodes_.back());
    nodes_.pop_back();
    const Tensor grad0 = std::move(node.out0->grad);
    const Tensor grad1 = node.out1 ? std::move(node.out1->grad) : Tensor();
    node.out0->grad = {};
    if (node.out1) node.out1->grad = {};
    if (!grad0.defined() && !grad1.defined()) continue;  // the loss does not depend on this op
    yield();
    if (observer_) observer_(node.op, true);
    node.backward(*this, grad0, grad1);
  }
}

void Tape::clear() { nodes_.clear(); }

}  // namespace rubricate
