#include "autograd/tape.h"

#include "ops/edit_add_norm/edit_add_norm.h"
#include "ops/elementwise/elementwise.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/shared/device_copies.h"
#include "ops/swiglu/swiglu.h"
#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

TEST_CASE("the tape records only ops that depend on a parameter") {
  const auto arena = test_arena();
  Tape tape(arena, Tape::Mode::training);
  const Tensor x = random_tensor(test_arena(), {4, 8}, DType::f32, 1);
  const Var parameter = Var::parameter(random_tensor(test_arena(), {4, 8}, DType::f32, 2));
  const Var frozen = multiply(tape, silu(tape, x), x);
  CHECK(!frozen.requires_grad());
  CHECK(tape.recorded() == 0);
  const Var trained = multiply(tape, frozen, parameter);
  CHECK(trained.requires_grad());
  CHECK(tape.recorded() == 1);
  sum(tape, scale_by(tape, trained, 2.0f));
  CHECK(tape.recorded() == 3);
  Tape inference(arena, Tape::Mode::inference);
  CHECK(!multiply(inference, frozen, parameter).requires_grad());
  CHECK(inference.recorded() == 0);
}

TEST_CASE("an op's saved tensors are released as soon as its backward has run") {
  const auto arena = std::make_shared<Arena>(nullptr, true);  // rounds sizes to 64 bytes, with or without sanitizers
  Tape tape(arena, Tape::Mode::training);
  const Tensor x = random_tensor(test_arena(), {64, 64}, DType::f32, 1);
  const int64_t one = x.bytes();
  std::vector<int64_t> used;  // at the start of each backward, from the last op to the first
  const auto probe = [&](const Var& a) {
    return tape.record("probe", a.value(), [&used, slot = a.slot()](Tape& tape, const Tensor& grad) {
      used.push_back(tape.arena()->stats().used);
      tape.accumulate(slot, grad);
    });
  };
  const Var parameter = Var::parameter(x);
  const int layers = 6;
  {
    Var y = parameter;
    for (int i = 0; i < layers; ++i) y = silu(tape, probe(y));
    CHECK(arena->stats().used == layers * one);
    const Var loss = sum(tape, y);
    y = {};
    tape.backward(loss);
  }
  REQUIRE(used.size() == static_cast<size_t>(layers));
  // The activations of the layers below (the lowest layer's is the parameter itself), one gradient, and the loss.
  for (int i = 0; i < layers; ++i) CHECK(used[static_cast<size_t>(i)] == (std::max(layers - 2 - i, 0) + 1) * one + 64);
  CHECK(tape.recorded() == 0);
  CHECK(arena->stats().used == one);  // the parameter's gradient
}

TEST_CASE("gradients of several uses are summed, and one user's gradient is not changed by another's sum") {
  const auto arena = test_arena();
  const Tensor value = random_tensor(arena, {3, 7}, DType::f32, 3);
  const Var x = Var::parameter(value), y = Var::parameter(value);
  for (int step = 1; step <= 2; ++step) {
    Tape tape(arena, Tape::Mode::training);
    Var total = add(tape, x, y);  // both get the same tensor
    total = add(tape, total, multiply(tape, x, x));
    total = add(tape, total, add(tape, x, x));
    tape.backward(sum(tape, total));
    for (int64_t i = 0; i < value.count(); ++i) {
      CHECK(element(x.grad(), i) == doctest::Approx(step * (3.0 + 2.0 * element(value, i))).epsilon(1e-6));
      CHECK(element(y.grad(), i) == step);  // a parameter's gradient persists over tapes
    }
  }
}

TEST_CASE("kernels that add to a parameter's gradient in place do not change other references to it") {
  const auto arena = test_arena();
  const Var x = Var::parameter(Tensor::zeros(arena, {5}, DType::f32));
  const Var y = Var::parameter(Tensor::zeros(arena, {5}, DType::f32));
  Tape tape(arena, Tape::Mode::training);
  tape.backward(sum(tape, add(tape, x, y)));
  tape.parameter_grad(x.slot()).data<float>()[0] += 10.0f;
  CHECK(element(x.grad(), 0) == 11.0);
  CHECK(element(y.grad(), 0) == 1.0);
}

TEST_CASE("a gradient in bfloat16 is summed in fp32 and rounded once") {
  const auto arena = test_arena();
  Tape tape(arena, Tape::Mode::training);
  const Var x = leaf(from_doubles(arena, {1}, DType::bf16, {1.0}));
  tape.accumulate(x.slot(), from_doubles(arena, {1}, DType::bf16, {1.0}));
  tape.accumulate(x.slot(), from_doubles(arena, {1}, DType::bf16, {0x1.8p-8}));
  CHECK(element(x.grad(), 0) == 1.0 + 0x1p-7);
}

TEST_CASE("an op whose result the loss does not use does not run backward") {
  const auto arena = test_arena();
  Tape tape(arena, Tape::Mode::training);
  const Var x = Var::parameter(random_tensor(arena, {4}, DType::f32, 4));
  const Var y = Var::parameter(random_tensor(arena, {4}, DType::f32, 5));
  silu(tape, y);
  tape.backward(sum(tape, silu(tape, x)));
  CHECK(x.grad().defined());
  CHECK(!y.grad().defined());
}

TEST_CASE("values of another tape are refused") {
  const auto arena = test_arena();
  Tape tape(arena, Tape::Mode::training), other(arena, Tape::Mode::training);
  const Var x = Var::parameter(random_tensor(arena, {4}, DType::f32, 6));
  const Var foreign = silu(other, x);
  CHECK(error_code([&] { silu(tape, foreign); }) == "ERR_FOREIGN");
  CHECK(error_code([&] { tape.backward(sum(other, foreign)); }) == "ERR_FOREIGN");
  CHECK(error_code([&] { tape.backward(Var(x.value())); }) == "ERR_FOREIGN");
  CHECK(error_code([&] { tape.backward(silu(tape, x)); }) == "ERR_SHAPE");
  Tape inference(arena, Tape::Mode::inference);
  CHECK(error_code([&] { inference.backward(x); }) == "ERR_STATE");
  // A value that needs no gradient belongs to no tape.
  CHECK(error_code([&] { silu(tape, Var(foreign.value())); }) == "");
}

TEST_CASE("recomputed and stored give the same bits, and recomputing stores less") {
  const auto leaves = test_arena();
  const int64_t d = 48;
  const TestRows rows({{30, 1}, {40, 2}});
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensor x = random_tensor(leaves, {70, d}, dtype, 7), grad_sum = random_tensor(leaves, {70, d}, dtype, 8);
    const Tensor grad_normed = random_tensor(leaves, {70, d}, dtype, 9);
    struct Result {
      std::vector<Tensor> tensors;
      int64_t kept;
    };
    const auto run = [&](bool recompute) {
      const auto arena = test_arena();
      Tape tape(arena, Tape::Mode::training);
      std::vector<Var> parameters;
      for (uint64_t i = 0; i < 4; ++i)
        parameters.push_back(Var::parameter(random_tensor(leaves, {d}, DType::f32, 20 + i)));
      const Var weight = Var::parameter(random_tensor(leaves, {d}, DType::f32, 30));
      const SlotVectors edit{{{}, {parameters[0], parameters[1]}, {parameters[2], parameters[3]}}};
      const Tape::Block block = [&](Tape& tape, const std::vector<Var>& in) {
        const Var h = swiglu(tape, silu(tape, in[1]), in[1]);
        return edit_add_norm(tape, h, in[0], &edit, rows.view(), {weight, 1e-5f});
      };
      const Var residual = leaf(x);
      Var a = residual, b = rms_norm(tape, residual, weight, 1e-5f);
      for (int layer = 0; layer < 3; ++layer)
        std::tie(a, b) = recompute ? tape.recompute({a, b}, block, true) : block(tape, {a, b});
      Result result{{a.value(), b.value()}, arena->stats().used};
      tape.accumulate(b.slot(), grad_normed);
      tape.backward(a, grad_sum);
      result.tensors.insert(result.tensors.end(), {residual.grad(), weight.grad()});
      for (const Var& p : parameters) result.tensors.push_back(p.grad());
      return result;
    };
    on_every_setting([&] {
      const Result stored = run(false), again = run(true);
      for (size_t i = 0; i < stored.tensors.size(); ++i) CHECK(same_bits(stored.tensors[i], again.tensors[i]));
      CHECK(again.kept < stored.kept);
    });
  }
}

TEST_CASE("recompute records nothing if nothing trains") {
  const auto arena = test_arena();
  Tape tape(arena, Tape::Mode::training);
  const Tensor x = random_tensor(arena, {4, 4}, DType::f32, 10);
  const Tape::Block block = [](Tape& tape, const std::vector<Var>& in) {
    return std::pair<Var, Var>{silu(tape, in[0]), Var()};
  };
  const auto [y, none] = tape.recompute({x}, block, false);
  CHECK(!y.requires_grad());
  CHECK(!none.defined());
  CHECK(tape.recorded() == 0);
  const auto [z, still_none] = tape.recompute({leaf(x)}, block, false);
  CHECK(z.requires_grad());
  CHECK(!still_none.defined());
  CHECK(tape.recorded() == 1);
}

TEST_CASE("the cancellation flag stops a forward, a backward and a recomputation between ops") {
  const auto arena = test_arena();
  std::atomic<bool> cancelled{false};
  Tape tape(arena, Tape::Mode::training);
  tape.set_cancel_flag(&cancelled);
  const Var x = Var::parameter(random_tensor(arena, {4}, DType::f32, 11));
  const Var y = silu(tape, x);
  const Var stopping = tape.record("stop", y.value(), [&, slot = y.slot()](Tape& tape, const Tensor& grad) {
    cancelled = true;
    tape.accumulate(slot, grad);
  });
  const Var loss = sum(tape, stopping);
  CHECK(error_code([&] { tape.backward(loss); }) == "ERR_ABORTED");
  CHECK(!x.grad().defined());
  CHECK(error_code([&] { silu(tape, x); }) == "ERR_ABORTED");
  CHECK(error_code([&] { tape.yield(); }) == "ERR_ABORTED");
  CHECK(error_code([&] {
          tape.recompute(
              {x},
              [](Tape& t, const std::vector<Var>& in) {
                return std::pair{silu(t, in[0]), Var()};
              },
              true);
        }) == "ERR_ABORTED");
  tape.clear();
  CHECK(tape.recorded() == 0);
}

TEST_CASE("a tape still calls its observer after a backward that threw") {
  const auto arena = test_arena();
  Tape tape(arena, Tape::Mode::training);
  int forwards = 0;
  tape.set_observer([&](const char*, bool backward) { forwards += !backward; });
  const Var x = Var::parameter(random_tensor(arena, {4}, DType::f32, 12));
  const Var failing =
      tape.record("fail", sum(tape, x).value(), [](Tape&, const Tensor&) { fail("ERR_OUT_OF_MEMORY", "no memory"); });
  CHECK(error_code([&] { tape.backward(failing); }) == "ERR_OUT_OF_MEMORY");
  const int before = forwards;
  silu(tape, x);
  CHECK(forwards == before + 1);
}

TEST_CASE("yield calls the job's hook") {
  Tape tape(test_arena(), Tape::Mode::inference);
  int calls = 0;
  tape.yield();
  tape.set_yield([&] { ++calls; });
  tape.yield();
  CHECK(calls == 1);
}

TEST_CASE("the ops of a forward share one copy of a table on a device, also when they are recomputed") {
  using Table = DeviceCopies::Table;
  for (const auto& stream : devices()) {
    if (!stream) continue;
    Tape tape(std::make_shared<Arena>(stream), Tape::Mode::training);
    int made = 0;
    const auto copies = std::make_shared<DeviceCopies>();
    const auto table = [&](Tape& on, const std::shared_ptr<DeviceCopies>& of, Table which, int64_t parameter) {
      return device_copy(on, of, which, parameter, [&] { return std::vector<int32_t>{3, 1, ++made}; });
    };
    const DeviceCopies::Copy first = table(tape, copies, Table::starts, 0);
    CHECK(to_doubles(first.memory) == Doubles{3, 1, 1});
    CHECK(first.count == 3);
    CHECK(table(tape, copies, Table::starts, 0).memory.raw() == first.memory.raw());
    CHECK(to_doubles(table(tape, copies, Table::past, 0).memory) == Doubles{3, 1, 2});
    CHECK(to_doubles(table(tape, copies, Table::starts, 16).memory) == Doubles{3, 1, 3});
    CHECK(to_doubles(table(tape, nullptr, Table::starts, 0).memory) == Doubles{3, 1, 4});
    int runs = 0;
    const Tensor x = random_tensor(test_arena(), {2, 3}, DType::f32, 1).copied_to(tape.arena());
    const Var input = leaf(x);
    const auto [y, none] = tape.recompute(
        {input},
        [&](Tape& inner, const std::vector<Var>& inputs) {
          ++runs;
          CHECK(table(inner, copies, Table::starts, 0).memory.raw() == first.memory.raw());
          return std::pair<Var, Var>{scale_by(inner, inputs[0], 2.0f), Var()};
        },
        true);
    tape.backward(y, x);
    CHECK(runs == 2);
    CHECK(made == 4);
  }
}
