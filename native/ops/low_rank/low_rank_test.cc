#include "ops/low_rank/low_rank.h"

#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

struct Case {
  std::vector<std::pair<int32_t, int32_t>> sequences;  // length and slot; slot 3 has no update
  int64_t inputs, outputs;
  std::vector<int64_t> ranks = {2, 5};  // of slots 1 and 2
};

const std::vector<Case> kCases = {
    {{{1, 1}}, 1, 1, {1, 1}},
    {{{3, 0}, {7, 2}, {1, 1}, {0, 2}, {9, 2}, {4, 3}}, 33, 17},
    {{{70, 1}, {64, 2}, {5, 1}, {10, 0}}, 24, 100, {8, 3}},
    {{{5, 1}, {6, 1}, {2, 2}}, 48, 16, {16, 64}},
};

struct Matrices {
  Var a, b;
};

struct Inputs {
  explicit Inputs(const Case& given, DType dtype) : rows(given.sequences) {
    const auto arena = test_arena();
    const int64_t count = rows.view().rows;
    x = placed(random_tensor(arena, {count, given.inputs}, dtype, 1));
    y = random_tensor(arena, {count, given.outputs}, dtype, 2);
    grad = placed(random_tensor(arena, {count, given.outputs}, dtype, 3));
    slots = {given.inputs, given.outputs, std::vector<LowRankUpdate>(4)};
    for (size_t s = 1; s <= 2; ++s) {
      const int64_t rank = given.ranks[s - 1];
      matrices[s] = {Var::parameter(placed(random_tensor(arena, {rank, given.inputs}, DType::f32, 10 * s))),
                     Var::parameter(placed(random_tensor(arena, {given.outputs, rank}, DType::f32, 10 * s + 1)))};
      slots.slots[s] = {matrices[s].a.value().data<float>(),
                        matrices[s].b.value().data<float>(),
                        rank,
                        0.75f,
                        matrices[s].a.slot(),
                        matrices[s].b.slot()};
    }
  }
  TestRows rows;
  Tensor x, y, grad;
  Matrices matrices[4];
  LowRankSlots slots;
};

struct Outcome {
  Tensor y, dx, dy;
};

Outcome run(Inputs& in, const SequenceRows& rows, const Tensor& x, const Tensor& y, const Tensor& grad) {
  Tape tape(device_arena(), Tape::Mode::training);
  const Var x_leaf = leaf(x), y_leaf = leaf(placed(y).copied_to(tape.arena()));
  const Var out = add_low_rank(tape, y_leaf, x_leaf, in.slots, rows);
  Outcome outcome{out.value(), {}, {}};
  tape.backward(out, grad);
  outcome.dx = x_leaf.grad();
  outcome.dy = y_leaf.grad();
  return outcome;
}

// The contract in double, and the same with each value rounded to float32: what the precision rule compares with.
struct Reference {
  Doubles y, dx;
  std::vector<Doubles> da, db;  // by slot
};

template <typename Real>
Reference reference(const Inputs& in) {
  const int64_t inputs = in.slots.inputs, outputs = in.slots.outputs;
  const Doubles x = to_doubles(in.x), y = to_doubles(in.y), g = to_doubles(in.grad);
  Reference out{y, Doubles(x.size()), std::vector<Doubles>(4), std::vector<Doubles>(4)};
  for (size_t s = 1; s <= 2; ++s) {
    out.da[s].resize(static_cast<size_t>(in.matrices[s].a.value().count()));
    out.db[s].resize(static_cast<size_t>(in.matrices[s].b.value().count()));
  }
  for_each_segment(in.rows.view(), 0, in.rows.view().rows, [&](int64_t begin, int64_t end, int32_t slot) {
    if (slot == 0 || slot == 3) return;
    const auto s = static_cast<size_t>(slot);
    const Doubles a = to_doubles(in.matrices[s].a.value()), b = to_doubles(in.matrices[s].b.value());
    const int64_t rank = in.slots.slots[s].rank;
    const auto at = [](int64_t row, int64_t cols, int64_t col) { return static_cast<size_t>(row * cols + col); };
    const auto add = [](double& sum, double value) { sum = static_cast<double>(static_cast<Real>(sum + value)); };
    for (int64_t t = begin; t < end; ++t)
      for (int64_t k = 0; k < rank; ++k) {
        double v = 0.0, d = 0.0;
        for (int64_t j = 0; j < inputs; ++j) add(v, x[at(t, inputs, j)] * a[at(k, inputs, j)]);
        v = static_cast<double>(static_cast<Real>(0.75 * v));
        for (int64_t n = 0; n < outputs; ++n) {
          add(out.y[at(t, outputs, n)], v * b[at(n, rank, k)]);
          add(out.db[s][at(n, rank, k)], g[at(t, outputs, n)] * v);
          add(d, g[at(t, outputs, n)] * b[at(n, rank, k)]);
        }
        d = static_cast<double>(static_cast<Real>(0.75 * d));
        for (int64_t j = 0; j < inputs; ++j) {
          add(out.da[s][at(k, inputs, j)], d * x[at(t, inputs, j)]);
          add(out.dx[at(t, inputs, j)], d * a[at(k, inputs, j)]);
        }
      }
  });
  return out;
}

}  // namespace

TEST_CASE("low_rank adds each slot's update, and its gradients are those of the formula") {
  on_every_device([] {
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const Case& given : kCases) {
        Inputs in(given, dtype);
        const Outcome got = run(in, in.rows.view(), in.x, in.y, in.grad);
        const Reference exact = reference<double>(in), naive = reference<float>(in);
        check_precision(got.y, exact.y, naive.y);
        check_precision(got.dx, exact.dx, naive.dx);
        CHECK(same_bits(got.dy, in.grad));
        for (size_t s = 1; s <= 2; ++s) {
          if (!in.matrices[s].a.grad().defined()) continue;
          check_precision(in.matrices[s].a.grad(), exact.da[s], naive.da[s]);
          check_precision(in.matrices[s].b.grad(), exact.db[s], naive.db[s]);
        }
      }
  });
}

TEST_CASE("a row of low_rank has the same bits alone, and rows without an update keep theirs") {
  on_every_device([] {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      Inputs in(kCases[1], dtype);
      const Tensor y = fetched(in.y);  // a negative zero too
      if (dtype == DType::f32) y.data<float>()[0] = -0.0f;
      in.y = placed(y);
      const Outcome all = run(in, in.rows.view(), in.x, in.y, in.grad);
      for (size_t s = 0; s < in.rows.slots.size(); ++s) {
        const int64_t begin = in.rows.starts[s], end = in.rows.starts[s + 1];
        if (begin == end) continue;
        const auto arena = device_arena();
        const TestRows own({{static_cast<int32_t>(end - begin), in.rows.slots[s]}});
        const Tensor x = placed(copy_rows(test_arena(), in.x, begin, end)),
                     y_rows = copy_rows(test_arena(), y, begin, end),
                     grad = placed(copy_rows(test_arena(), in.grad, begin, end));
        if (in.slots.slots[static_cast<size_t>(in.rows.slots[s])].a == nullptr) {
          CHECK(same_bits(copy_rows(test_arena(), all.y, begin, end), y_rows));
          const Tensor dx = fetched(all.dx);
          for (int64_t i = begin * in.slots.inputs; i < end * in.slots.inputs; ++i)
            CHECK((element(dx, i) == 0.0 && std::signbit(element(dx, i))));
          continue;
        }
        const Outcome alone = run(in, own.view(), x, y_rows, grad);
        CHECK(same_bits(copy_rows(test_arena(), all.y, begin, end), alone.y));
        CHECK(same_bits(copy_rows(test_arena(), all.dx, begin, end), alone.dx));
      }
    }
  });
}

TEST_CASE("low_rank records nothing for frozen matrices, and refuses what does not fit") {
  Inputs in(kCases[1], DType::f32);
  for (LowRankUpdate& own : in.slots.slots) own.a_grad = own.b_grad = nullptr;
  const SequenceRows rows = in.rows.view();
  Tape tape(test_arena(), Tape::Mode::training);
  add_low_rank(tape, in.y, in.x, in.slots, rows);
  CHECK(tape.recorded() == 0);
  const auto code = [&](const Tensor& y, const Tensor& x, const LowRankSlots& slots) {
    return error_code([&] { add_low_rank(tape, y, x, slots, rows); });
  };
  const auto arena = test_arena();
  const Tensor narrow = random_tensor(arena, {rows.rows, 5}, DType::f32, 1);
  CHECK(code(in.y, narrow, in.slots) == "ERR_SHAPE");
  CHECK(code(narrow, in.x, in.slots) == "ERR_SHAPE");
  CHECK(code(in.y, copy_rows(arena, in.x, 0, 3), in.slots) == "ERR_SHAPE");
  CHECK(code(in.y, Tensor::zeros(arena, in.x.shape(), DType::i32), in.slots) == "ERR_DTYPE");
  LowRankSlots few = in.slots;
  few.slots.resize(2);
  CHECK(code(in.y, in.x, few) == "ERR_ARGUMENT");
  const Tensor before = in.y.copied_to(arena);
  add_low_rank(tape, in.y, in.x, in.slots, rows);
  CHECK(same_bits(in.y, before));  // memory that others have is not reused
}
