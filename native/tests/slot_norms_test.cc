// A norm of the model with a weight and a bias by slot: each sequence has the bits of the norm that its slot stands for,
// with all of its ops, and so have the gradients.
#include "doctest/doctest.h"
#include "ops/edit_add_norm/edit_add_norm.h"
#include "ops/elementwise/elementwise.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/rms_norm/rms_norm.h"
#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

constexpr float kEps = 1e-5f;

// Slot 1 has a weight and a bias, slot 2 a weight, slot 3 a bias alone; slots 0 and 4 have neither. Without biases, slot 3
// has nothing.
const TestRows kRows({{3, 0}, {70, 2}, {1, 1}, {9, 3}, {130, 1}, {5, 4}});
const TestRows kOneSlot({{20, 2}});

struct Vectors {
  Tensor weight, bias;             // the model's own
  std::vector<Tensor> w{5}, b{5};  // by slot; undefined: none
  Tensor scale, shift;             // the edit of slots 1 and 3
};
Vectors make_vectors(int64_t cols, bool biases) {
  const auto vector = [&](uint64_t seed) { return random_tensor(test_arena(), {cols}, DType::f32, seed, -1.5, 2.0); };
  Vectors v;
  v.weight = vector(1);
  v.scale = vector(6);
  v.shift = vector(7);
  v.w[1] = vector(2);
  v.w[2] = vector(3);
  if (!biases) return v;
  v.bias = vector(8);
  v.b[1] = vector(4);
  v.b[3] = vector(5);
  return v;
}

Var parameter(const Tensor& x) { return x.defined() ? Var::parameter(placed(x)) : Var(); }
Var constant(const Tensor& x) { return x.defined() ? Var(placed(x)) : Var(); }

SlotVectors slots_of(const Vectors& v) {
  SlotVectors slots{{{}}};
  for (size_t s = 1; s < v.w.size(); ++s) slots.slots.push_back({parameter(v.w[s]), parameter(v.b[s])});
  return slots;
}

struct Outputs {
  std::vector<Tensor> rows;       // [T, cols] each: values and gradients of the inputs
  std::vector<SlotVectors> sums;  // with the gradients of the slots' vectors
};

enum class Op { rms, layer, closing };

void flow(Tape& tape, const Var& out, const Tensor& grad) {
  if (out.requires_grad()) tape.accumulate(out.slot(), placed(grad));
}

// By slot, all sequences together.
Outputs together(Op op, const Vectors& v, const TestRows& rows, const Tensor& x, const Tensor& h, const Tensor& grad,
                 const Tensor& grad_sum) {
  Tape tape(device_arena(), Tape::Mode::training);
  const SlotVectors slots = slots_of(v);
  const Var in = leaf(placed(x)), edited = leaf(placed(h));
  const Var start = cast(tape, leaf(placed(random_tensor(test_arena(), {1}, DType::bf16, 1))), DType::f32);
  if (op != Op::closing) {
    const Var y = op == Op::rms
                      ? rms_norm(tape, in, constant(v.weight), slots, rows.view(), kEps)
                      : layer_norm(tape, in, {constant(v.weight), constant(v.bias)}, slots, rows.view(), kEps);
    tape.backward(y, placed(grad));
    return {{y.value(), in.grad()}, {slots}};
  }
  const Var scale = parameter(v.scale), shift = parameter(v.shift);
  const SlotVectors edit{{{}, {scale, shift}, {}, {scale, Var()}, {}}};
  const auto [sum, normed] = edit_add_norm(tape, edited, in, &edit, rows.view(), {constant(v.weight), kEps, &slots});
  flow(tape, sum, grad_sum);
  flow(tape, normed, grad);
  tape.backward(start);
  return {{sum.value(), normed.value(), in.grad(), edited.grad()}, {slots, edit}};
}

// One sequence after another, each through the op with its slot's vectors as the model's own.
Outputs apart(Op op, const Vectors& v, const TestRows& rows, const Tensor& x, const Tensor& h, const Tensor& grad,
              const Tensor& grad_sum) {
  const SlotVectors slots = slots_of(v);
  const Var scale = parameter(v.scale), shift = parameter(v.shift);
  std::vector<std::vector<Tensor>> parts(op == Op::closing ? 4 : 2);
  for (size_t s = 0; s < rows.slots.size(); ++s) {
    Tape tape(device_arena(), Tape::Mode::training);
    const auto slot = static_cast<size_t>(rows.slots[s]);
    const auto cut = [&](const Tensor& m) { return copy_rows(test_arena(), m, rows.starts[s], rows.starts[s + 1]); };
    const Var in = leaf(placed(cut(x))), edited = leaf(placed(cut(h)));
    const auto& [own_weight, own_bias] = slots.slots[slot];
    const Var weight = own_weight.defined() ? own_weight : constant(v.weight);
    const Var bias = own_bias.defined() ? own_bias : constant(v.bias);
    const Var start = cast(tape, leaf(placed(random_tensor(test_arena(), {1}, DType::bf16, 1))), DType::f32);
    const auto keep = [&](const std::vector<Tensor>& made) {
      for (size_t i = 0; i < made.size(); ++i) parts[i].push_back(made[i]);
    };
    if (op != Op::closing) {
      const Var y = op == Op::rms ? rms_norm(tape, in, weight, kEps) : layer_norm(tape, in, weight, bias, kEps);
      tape.backward(y, placed(cut(grad)));
      keep({y.value(), in.grad()});
      continue;
    }
    const SlotVectors edit{{{}, {slot == 1 || slot == 3 ? scale : Var(), slot == 1 ? shift : Var()}}};
    const TestRows one({{rows.starts[s + 1] - rows.starts[s], 1}});
    const auto [sum, normed] = edit_add_norm(tape, edited, in, &edit, one.view(), {weight, kEps});
    flow(tape, sum, cut(grad_sum));
    flow(tape, normed, cut(grad));
    tape.backward(start);
    keep({sum.value(), normed.value(), in.grad(), edited.grad()});
  }
  Outputs out;
  for (const auto& list : parts) {
    const Tensor all = Tensor::empty(test_arena(), x.shape(), x.dtype());
    int64_t begin = 0;
    for (const Tensor& part : list) {
      copy_elements(all.part(begin, part.shape()), part);
      begin += part.count();
    }
    out.rows.push_back(all);
  }
  out.sums = {slots};
  if (op == Op::closing) out.sums.push_back({{{}, {scale, shift}, {}, {scale, Var()}, {}}});
  return out;
}

bool same(const Tensor& a, const Tensor& b) { return (!a.defined() && !b.defined()) || same_bits(a, b); }

void check(Op op, const TestRows& rows, int64_t cols, DType dtype) {
  const Vectors v = make_vectors(cols, op == Op::layer);
  const auto matrix = [&](uint64_t seed) {
    return random_tensor(test_arena(), {rows.view().rows, cols}, dtype, seed, -2.0, 2.0);
  };
  const Tensor x = matrix(11), h = matrix(12), grad = matrix(13), grad_sum = matrix(14);
  const Outputs a = together(op, v, rows, x, h, grad, grad_sum), b = apart(op, v, rows, x, h, grad, grad_sum);
  REQUIRE(a.rows.size() == b.rows.size());
  for (size_t i = 0; i < a.rows.size(); ++i) CHECK(same_bits(a.rows[i], b.rows[i]));
  for (size_t k = 0; k < a.sums.size(); ++k)
    for (size_t s = 0; s < a.sums[k].slots.size(); ++s) {
      CAPTURE(s);
      CHECK(same(a.sums[k].slots[s].scale.grad(), b.sums[k].slots[s].scale.grad()));
      CHECK(same(a.sums[k].slots[s].bias.grad(), b.sums[k].slots[s].bias.grad()));
    }
  CHECK(a.sums[0].slots[2].scale.grad().defined());
}

}  // namespace

TEST_CASE("a norm with vectors by slot has the bits of each slot's norm on its sequences, forward and backward") {
  for (const Op op : {Op::rms, Op::layer, Op::closing})
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const int64_t cols : {int64_t{33}, int64_t{104}, int64_t{2056}})
        for (const TestRows& rows : {kRows, kOneSlot}) {
          CAPTURE(static_cast<int>(op));
          CAPTURE(cols);
          on_every_device([&] { check(op, rows, cols, dtype); });
        }
}

TEST_CASE("a norm with vectors by slot has the same bits without gradients, and of more slots than fit in arguments") {
  constexpr int64_t kCols = 40, kSlots = 11;
  for (const bool biases : {false, true}) {
    const Vectors v = make_vectors(kCols, biases);
    const Tensor x = random_tensor(test_arena(), {kRows.view().rows, kCols}, DType::f32, 11);
    on_every_device([&] {
      SlotVectors slots = slots_of(v);
      slots.slots.resize(kSlots);
      std::vector<const float*> weights, bias_table;
      for (const auto& [w, b] : slots.slots) {
        weights.push_back(static_cast<const float*>(w.value().raw()));
        bias_table.push_back(static_cast<const float*>(b.value().raw()));
      }
      const EditView view{.slots = kSlots, .width = kCols, .scale = weights.data(), .bias = bias_table.data()};
      Tape training(device_arena(), Tape::Mode::training), tape(device_arena(), Tape::Mode::inference);
      const Tensor in = placed(x);
      const Var weight = constant(v.weight), bias = constant(v.bias);
      const SequenceRows rows = kRows.view();
      if (biases) {
        CHECK(same_bits(layer_norm(tape, in, {weight, bias}, view, rows, kEps),
                        layer_norm(training, in, {weight, bias}, slots, rows, kEps).value()));
        return;
      }
      CHECK(same_bits(rms_norm(tape, in, weight.value(), view, rows, kEps),
                      rms_norm(training, in, weight, slots, rows, kEps).value()));
      const auto expected = edit_add_norm(training, in, in, nullptr, rows, {weight, kEps, &slots});
      const EditView none{.slots = kSlots, .width = kCols};
      const auto edited = edit_add_norm(tape, in, in, none, rows, {weight, kEps, nullptr, &view});
      const auto plain = edit_add_norm(tape, Var(in), Var(in), nullptr, rows, {weight, kEps, nullptr, &view});
      CHECK(same_bits(edited.second, expected.second.value()));
      CHECK(same_bits(plain.second.value(), expected.second.value()));
      CHECK(same_bits(edited.first, expected.first.value()));
    });
  }
}

TEST_CASE("a norm with vectors by slot: wrong arguments") {
  const Vectors v = make_vectors(8, true);
  const Var weight = v.weight, bias = v.bias;
  const SlotVectors biased{{{}, {weight, bias}}}, plain{{{}, {weight, {}}}};
  const TestRows rows({{2, 1}});
  const Tensor x = random_tensor(test_arena(), {2, 8}, DType::f32, 1);
  Tape tape(test_arena(), Tape::Mode::training);
  const auto code = [&](const Var& own, const SlotVectors& slots, const TestRows& given) {
    return error_code([&] { rms_norm(tape, x, own, slots, given.view(), kEps); });
  };
  CHECK(code(weight, plain, rows) == "");
  CHECK(code(weight, biased, rows) == "ERR_ARGUMENT");
  CHECK(code(Var::parameter(v.weight), plain, rows) == "ERR_ARGUMENT");
  CHECK(code(weight, plain, TestRows({{3, 1}})) == "ERR_SHAPE");
  CHECK(code(weight, plain, TestRows({{2, 2}})) == "ERR_ARGUMENT");
  CHECK(code(weight, {{{}, {Var(random_tensor(test_arena(), {7}, DType::f32, 1)), {}}}}, rows) == "ERR_SHAPE");
  CHECK(error_code([&] { layer_norm(tape, x, {weight, {}}, plain, rows.view(), kEps); }) == "ERR_ARGUMENT");
  CHECK(error_code([&] {
          edit_add_norm(tape, x, x, nullptr, rows.view(), {weight, kEps, &biased});
        }) == "ERR_ARGUMENT");
}
